//! Packs that are condemned, gone, damaged or to be avoided are not referred to.

use jiff::Timestamp;

use super::*;
use crate::backend::{Created, Operation, Recording};
use crate::format::control::{Condemned, Damaged};
use crate::format::envelope::ObjectKind;
use crate::format::names::ObjectName;
use crate::store::object;

fn condemn(kit: &Kit, collection: u64, mut packs: Vec<PackId>) {
    packs.sort_unstable();
    let body = Condemned { collection, packs }.encode().unwrap();
    let name = ObjectName::Condemned(collection).to_string();
    let created = object::create(kit.backend().as_ref(), kit.vault.keys(), ObjectKind::Condemned, &name, &body).unwrap();
    assert_eq!(created, Created::New);
}

fn mark_damaged(kit: &Kit, number: u64, slots: Vec<(Address, u32)>) {
    let body = Damaged { number, slots, time: Timestamp::UNIX_EPOCH }.encode().unwrap();
    let name = ObjectName::Damaged(number).to_string();
    let created = object::create(kit.backend().as_ref(), kit.vault.keys(), ObjectKind::Damaged, &name, &body).unwrap();
    assert_eq!(created, Created::New);
}

#[test]
fn condemned_packs_are_not_referred_to() {
    for place in PLACES {
        let kit = Kit::new(place);
        let first = kit.store(&[chunk(0..64)]);
        let second = kit.store(&[chunk(64..128)]);
        condemn(&kit, 1, named(&first).into_iter().collect());
        let (stored, new_bytes) = kit.try_store(&[chunk(0..128)], &HashSet::new()).unwrap();
        assert_eq!(new_bytes, 64 * BLOCK_BYTES as u64);
        assert!(named(&stored).is_disjoint(&named(&first)) && named(&stored).is_superset(&named(&second)));
        assert_reads(&kit.reader(), &first);
        assert_reads(&kit.reader(), &stored);
    }
}

#[test]
fn packs_to_be_avoided_are_not_referred_to() {
    let kit = Kit::new(Place::Local);
    let first = kit.store(&[chunk(0..64)]);
    let (stored, new_bytes) = kit.try_store(&[chunk(0..64)], &named(&first)).unwrap();
    assert_eq!(new_bytes, 64 * BLOCK_BYTES as u64);
    assert!(named(&stored).is_disjoint(&named(&first)));
}

#[test]
fn packs_condemned_or_gone_in_mid_session_are_reported() {
    for place in PLACES {
        let kit = Kit::new(place);
        let known: Vec<Vec<Stored>> = (0..3).map(|n| kit.store(&[chunk(n * 64..n * 64 + 64)])).collect();
        let pack = |n: usize| addresses(&known[n][0])[0].pack;
        let (_lease, mut session) = begin(&kit.vault, &HashSet::new()).unwrap();
        let mut account = DiskAccount::default();
        for n in [0, 1, 5] {
            put(&kit.vault, &mut session, &chunk(n * 64..n * 64 + 64), &mut account).unwrap();
        }
        session.flush().unwrap();
        assert_eq!(session.vanished().unwrap(), []);
        condemn(&kit, 1, vec![pack(0), pack(2)]);
        assert_eq!(session.vanished().unwrap(), [pack(0)], "the other condemned pack was not referred to");
        kit.backend().delete(&ObjectName::Pack(pack(1)).to_string()).unwrap();
        let vanished: HashSet<PackId> = session.vanished().unwrap().into_iter().collect();
        assert_eq!(vanished, HashSet::from([pack(0), pack(1)]));
        let own = session.written()[0].id;
        kit.backend().delete(&ObjectName::Pack(own).to_string()).unwrap();
        assert!(session.vanished().unwrap().contains(&own), "a pack of its own is gone");
    }
}

#[test]
fn damaged_slots_are_not_referred_to_and_sound_copies_are() {
    for place in PLACES {
        let kit = Kit::new(place);
        let first = kit.store(&[chunk(0..64)]);
        let slots = addresses(&first[0]);
        mark_damaged(&kit, 1, vec![(slots[0], 1), (slots[10], 5)]);
        mark_damaged(&kit, 2, vec![(slots[63], 1)]);
        let (second, new_bytes) = kit.try_store(&[chunk(0..64)], &HashSet::new()).unwrap();
        assert_eq!(new_bytes, 7 * BLOCK_BYTES as u64);
        let damaged: HashSet<Address> = [0, 10, 11, 12, 13, 14, 63].map(|slot| slots[slot]).into();
        assert!(addresses(&second[0]).iter().all(|address| !damaged.contains(address)));
        assert_reads(&kit.reader(), &second);
        let (third, new_bytes) = kit.try_store(&[chunk(0..64)], &HashSet::new()).unwrap();
        assert_eq!(new_bytes, 0, "the copies made meanwhile are found");
        assert_eq!(third[0].runs, second[0].runs);
    }
}

/// A pack that is listed just before its deletion, and whose list of condemned packs is gone just after it, must not be taken.
#[test]
fn condemned_packs_are_listed_before_packs() {
    let kit = Kit::new(Place::Memory);
    let recording = Arc::new(Recording::new(Arc::clone(kit.backend())));
    let vault = kit.behind(Arc::clone(&recording) as Arc<dyn Backend>);
    let lists = || -> Vec<(String, u64, u64)> {
        let recorded = recording.recorded().into_iter().filter(|one| one.operation == Operation::List);
        recorded.map(|one| (one.name, one.begun, one.ended)).collect()
    };
    let in_order = |lists: &[(String, u64, u64)]| {
        let find = |name: &str| lists.iter().find(|(listed, ..)| listed == name).unwrap();
        find("condemned/").2 < find("packs/").1
    };
    let (_lease, mut session) = begin(&vault, &HashSet::new()).unwrap();
    assert!(in_order(&lists()), "at the beginning: {:?}", lists());
    put(&vault, &mut session, &chunk(0..64), &mut DiskAccount::default()).unwrap();
    session.flush().unwrap();
    recording.forget();
    session.vanished().unwrap();
    assert!(in_order(&lists()), "before publishing: {:?}", lists());
}

#[test]
fn a_list_that_is_removed_while_it_is_read_is_no_failure() {
    let kit = Kit::new(Place::Memory);
    let first = kit.store(&[chunk(0..64)]);
    condemn(&kit, 1, named(&first).into_iter().collect());
    mark_damaged(&kit, 1, vec![(addresses(&first[0])[0], 1)]);
    let gone = |_: u64, operation: Operation, name: &str| {
        let list = name.starts_with("condemned/") || name.starts_with("damaged/");
        (operation == Operation::Get && list).then_some(crate::backend::Fault::Missing)
    };
    let vault = kit.behind(Arc::new(crate::backend::Faulty::new(Arc::clone(kit.backend()), gone)));
    let (_lease, mut session) = begin(&vault, &HashSet::new()).unwrap();
    let mut account = DiskAccount::default();
    put(&vault, &mut session, &chunk(0..64), &mut account).unwrap();
    assert_eq!(account.new_bytes, 0);
}
