//! Sessions: what goes in comes out, once.

use super::*;
use crate::format::pack::PackKind;

#[test]
fn what_a_session_writes_a_reader_reads() {
    for place in PLACES {
        let kit = Kit::new(place);
        let mut mixed = chunk(0..64);
        mixed[5 * BLOCK_BYTES..9 * BLOCK_BYTES].fill(0);
        let text: Vec<u8> = b"all work and no play ".iter().copied().cycle().take(64 * BLOCK_BYTES).collect();
        let mut short = chunk(100..103);
        short.truncate(2 * BLOCK_BYTES + 100);
        let chunks = [mixed, text, short, vec![0; 64 * BLOCK_BYTES], chunk(200..201)];
        let stored = kit.store(&chunks);
        assert_reads(&kit.reader(), &stored);
        assert_eq!(stored[0].runs.len(), 3, "{:?}", stored[0].runs);
        assert_eq!(stored[3].runs, [Run::Zero { blocks: 64 }]);
        assert_eq!(kit.packs().len(), 1);
        let again = kit.behind(Arc::clone(kit.backend()));
        assert_reads(&reader(&again), &stored);
    }
}

#[test]
fn nodes_are_read_back_and_blocks_are_no_nodes() {
    for place in PLACES {
        let kit = Kit::new(place);
        let (_lease, mut session) = begin(&kit.vault, &HashSet::new()).unwrap();
        let nodes: Vec<Vec<u8>> = (1..40).map(|length| chunk(0..1)[..length * 100].to_vec()).collect();
        let addresses: Vec<Address> = nodes.iter().map(|node| session.store_node(node).unwrap()).collect();
        let block = put(&kit.vault, &mut session, &chunk(7..8), &mut DiskAccount::default()).unwrap();
        session.flush().unwrap();
        let kinds: Vec<PackKind> = session.written().iter().map(|pack| kit.reader().info(pack.id).unwrap().toc.kind).collect();
        assert_eq!(kinds, [PackKind::Data, PackKind::Map]);
        let reader = kit.reader();
        for (node, address) in nodes.iter().zip(&addresses) {
            assert_eq!(reader.read_node(*address).unwrap().to_vec(), *node);
        }
        let error = reader.read_node(super::addresses(&block)[0]).unwrap_err();
        assert!(matches!(error, StoreError::Unresolved { .. }), "{error}");
        let beyond = Address { slot: nodes.len() as u32, ..addresses[0] };
        let error = reader.read_node(beyond).unwrap_err();
        assert!(matches!(error, StoreError::Unresolved { address } if address == beyond), "{error}");
    }
}

#[test]
fn a_block_is_stored_once_in_a_job_and_in_later_ones() {
    for place in PLACES {
        let kit = Kit::new(place);
        let (one, other) = (chunk(0..64), chunk(64..128));
        let twice = [one.clone(), other.clone(), one.clone(), chunk(32..96)];
        let (stored, new_bytes) = kit.try_store(&twice, &HashSet::new()).unwrap();
        assert_eq!(new_bytes, 128 * BLOCK_BYTES as u64);
        assert_eq!(stored[0].runs, stored[2].runs);
        assert_reads(&kit.reader(), &stored);
        let (later, new_bytes) = kit.try_store(&[chunk(60..140), one], &HashSet::new()).unwrap();
        assert_eq!(new_bytes, 12 * BLOCK_BYTES as u64);
        assert_reads(&kit.reader(), &later);
        assert_eq!(kit.packs().len(), 2);
    }
}

#[test]
fn what_a_disk_adds_is_accounted_to_it() {
    let kit = Kit::new(Place::LocalEncrypted);
    let (_lease, mut session) = begin(&kit.vault, &HashSet::new()).unwrap();
    let (mut first, mut second) = (DiskAccount::default(), DiskAccount::default());
    put(&kit.vault, &mut session, &chunk(0..20), &mut first).unwrap();
    session.end_disk().unwrap();
    put(&kit.vault, &mut session, &chunk(10..64), &mut second).unwrap();
    session.end_disk().unwrap();
    session.flush().unwrap();
    assert_eq!((first.new_bytes, second.new_bytes), (20 * BLOCK_BYTES as u64, 44 * BLOCK_BYTES as u64));
    let tag = 16;
    assert_eq!(first.stored_bytes(), first.new_bytes + 2 * tag, "blocks that do not compress, in two frames");
    assert_eq!(second.stored_bytes(), second.new_bytes + 3 * tag);
}

#[test]
fn new_blocks_spill_into_the_index_and_are_still_found() {
    let kit = Kit::new(Place::Local);
    let (lease, mut session) = begin(&kit.vault, &HashSet::new()).unwrap();
    session.spill_at(100);
    let mut account = DiskAccount::default();
    let chunks: Vec<Vec<u8>> = (0..6).chain(0..6).map(|n| chunk(n * 64..n * 64 + 64)).collect();
    let stored: Vec<Stored> = chunks.iter().map(|chunk| put(&kit.vault, &mut session, chunk, &mut account).unwrap()).collect();
    let segments = std::fs::read_dir(kit.vault.index_directory()).unwrap().count();
    assert_eq!(segments, 3, "two chunks fill the memory for new blocks");
    assert_eq!(account.new_bytes, 6 * 64 * BLOCK_BYTES as u64);
    session.flush().unwrap();
    assert_eq!(session.vanished().unwrap(), []);
    session.finish().unwrap();
    drop(lease);
    assert_reads(&kit.reader(), &stored);
    assert_eq!(kit.new_bytes(&chunks), 0);
}

#[test]
fn packs_close_when_they_have_all_their_slots() {
    let kit = Kit::new(Place::Memory);
    let (_lease, mut session) = begin(&kit.vault, &HashSet::new()).unwrap();
    let mut account = DiskAccount::default();
    let sparse = |first: u64| {
        let mut bytes = vec![0; 64 * BLOCK_BYTES];
        for (block, number) in bytes.chunks_mut(BLOCK_BYTES).zip(first..) {
            block[..8].copy_from_slice(&(number + 1).to_le_bytes());
        }
        bytes
    };
    let mut last = Vec::new();
    for n in 0..1026 {
        let stored = put(&kit.vault, &mut session, &sparse(n * 64), &mut account).unwrap();
        last = if n >= 1022 { [last, vec![stored]].concat() } else { last };
    }
    session.flush().unwrap();
    let mut slots: Vec<u32> = session.written().iter().map(|pack| kit.reader().info(pack.id).unwrap().toc.slot_count).collect();
    slots.sort_unstable();
    assert_eq!(slots, [128, 65_536]);
    assert_reads(&kit.reader(), &last);
}

#[test]
fn a_session_given_up_leaves_nothing_that_is_seen() {
    for place in PLACES {
        let kit = Kit::new(place);
        let before = kit.store(&[chunk(0..64)]);
        let objects = kit.backend().list("").unwrap();
        let (lease, mut session) = begin(&kit.vault, &HashSet::new()).unwrap();
        let mut account = DiskAccount::default();
        for n in 1..8 {
            put(&kit.vault, &mut session, &chunk(n * 40..n * 40 + 64), &mut account).unwrap();
        }
        session.store_node(b"a node").unwrap();
        drop(session);
        drop(lease);
        assert_eq!(kit.backend().list("").unwrap(), objects);
        assert_reads(&kit.reader(), &before);
        assert_eq!(kit.new_bytes(&[chunk(0..128)]), 64 * BLOCK_BYTES as u64);
    }
}

#[test]
fn sessions_side_by_side_lose_nothing() {
    for place in PLACES {
        let kit = Kit::new(place);
        let common: Vec<Vec<u8>> = (0..4).map(|n| chunk(n * 64..n * 64 + 64)).collect();
        let write = |thread: u64| {
            let own = (0..4).map(|n| chunk(10_000 * (thread + 1) + n * 64..10_000 * (thread + 1) + n * 64 + 64));
            kit.store(&common.iter().cloned().chain(own).collect::<Vec<_>>())
        };
        let stored: Vec<Stored> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4).map(|thread| scope.spawn(move || write(thread))).collect();
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        assert_reads(&kit.reader(), &stored);
        let all: Vec<Vec<u8>> = stored.iter().map(|one| one.bytes.clone()).collect();
        assert_eq!(kit.new_bytes(&all), 0, "all that was stored is found again");
        assert_eq!(kit.backend().list("leases/").unwrap(), []);
    }
}

#[test]
fn recipes_that_do_not_fit_their_chunk_are_refused() {
    let kit = Kit::new(Place::Memory);
    let stored = kit.store(&[chunk(0..64)]).remove(0);
    let reader = kit.reader();
    for bytes in [0, BLOCK_BYTES, 63 * BLOCK_BYTES, 64 * BLOCK_BYTES + 1] {
        let error = reader.read_runs(&stored.runs, &mut vec![0; bytes]).unwrap_err();
        assert!(matches!(error, StoreError::Runs { blocks: 64, chunk_bytes } if chunk_bytes == bytes), "{error}");
    }
    let Run::Blocks { address, .. } = stored.runs[0] else { panic!("{:?}", stored.runs) };
    let past = Run::Blocks { address: Address { slot: address.slot + 10, ..address }, blocks: 64 };
    let error = reader.read_runs(&[past], &mut vec![0; 64 * BLOCK_BYTES]).unwrap_err();
    assert!(matches!(error, StoreError::Unresolved { .. }), "{error}");
}
