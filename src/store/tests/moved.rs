//! Blocks that collection has moved are found where they are now, also by a reader that is older than the move.

use super::*;
use crate::format::control::{Moved, MovedRange};
use crate::format::envelope::ObjectKind;
use crate::format::names::ObjectName;
use crate::store::object;

/// Says that slots of `from` are where the recipe of the same blocks now says.
fn put_moved(kit: &Kit, number: u64, from: &[Address], now: &[Address]) {
    let mut ranges: Vec<MovedRange> = Vec::new();
    for (birth, address) in from.iter().zip(now) {
        match ranges.last_mut() {
            Some(range)
                if range.birth_slot + range.count == birth.slot
                    && range.pack == address.pack
                    && range.slot + range.count == address.slot =>
            {
                range.count += 1;
            }
            _ => ranges.push(MovedRange { birth_slot: birth.slot, count: 1, pack: address.pack, slot: address.slot }),
        }
    }
    let pack = from[0].pack;
    let body = Moved { pack, number, ranges }.encode().unwrap();
    let name = ObjectName::Moved(pack, number).to_string();
    let created = object::create(kit.backend().as_ref(), kit.vault.keys(), ObjectKind::Moved, &name, &body).unwrap();
    assert_eq!(created, crate::backend::Created::New);
}

fn delete(kit: &Kit, pack: PackId) {
    kit.backend().delete(&ObjectName::Pack(pack).to_string()).unwrap();
}

/// Stores the chunk's blocks once more, in another order, in another pack; their addresses there.
fn store_again(kit: &Kit, chunk: &[u8], avoid: &HashSet<PackId>) -> Vec<Address> {
    let (front, back) = chunk.split_at(20 * BLOCK_BYTES);
    let (stored, _) = kit.try_store(&[[back, front].concat()], avoid).unwrap();
    let mut now = addresses(&stored[0]);
    now.rotate_right(20);
    now
}

#[test]
fn a_reader_follows_blocks_however_often_they_move() {
    for place in PLACES {
        let kit = Kit::new(place);
        let bytes = chunk(0..64);
        let stored = kit.store(&[bytes.clone(), chunk(64..512)]);
        let born = addresses(&stored[0]);
        let others: Vec<Address> = addresses(&stored[1]);
        let old_reader = PackReader::new(Arc::clone(kit.backend()), Arc::clone(kit.vault.keys()), 0);
        assert_reads(&old_reader, &stored);
        let mut avoid = HashSet::from([born[0].pack]);
        for number in 1..4 {
            let now = store_again(&kit, &bytes, &avoid);
            put_moved(&kit, number, &born, &now);
            let previous = avoid.clone();
            avoid.insert(now[0].pack);
            previous.iter().for_each(|pack| delete(&kit, *pack));
            assert_reads(&kit.reader(), &stored[..1]);
            assert_reads(&old_reader, &stored[..1]);
        }
        let error = read(&kit.reader(), &stored[1]).unwrap_err();
        assert!(matches!(error, StoreError::Unresolved { address } if address == others[0]), "{error}");
    }
}

#[test]
fn a_moved_node_is_followed() {
    let kit = Kit::new(Place::Local);
    let store = |nodes: &[&[u8]]| {
        let (_lease, mut session) = begin(&kit.vault, &HashSet::new()).unwrap();
        let addresses: Vec<Address> = nodes.iter().map(|node| session.store_node(node).unwrap()).collect();
        session.flush().unwrap();
        addresses
    };
    let born = store(&[b"root", b"leaf"]);
    let old_reader = kit.reader();
    assert_eq!(old_reader.read_node(born[1]).unwrap().to_vec(), b"leaf");
    let now = store(&[b"leaf", b"root"]);
    put_moved(&kit, 1, &born, &[now[1], now[0]]);
    delete(&kit, born[0].pack);
    for reader in [old_reader, kit.reader()] {
        assert_eq!(reader.read_node(born[0]).unwrap().to_vec(), b"root");
        assert_eq!(reader.read_node(born[1]).unwrap().to_vec(), b"leaf");
    }
}

#[test]
fn blocks_that_nobody_moved_are_named() {
    let kit = Kit::new(Place::Memory);
    let stored = kit.store(&[chunk(0..64)]);
    let born = addresses(&stored[0]);
    let now = store_again(&kit, &stored[0].bytes, &HashSet::from([born[0].pack]));
    put_moved(&kit, 1, &born[..40], &now[..40]);
    delete(&kit, born[0].pack);
    let error = read(&kit.reader(), &stored[0]).unwrap_err();
    assert!(matches!(error, StoreError::Unresolved { address } if address == born[40]), "{error}");
}
