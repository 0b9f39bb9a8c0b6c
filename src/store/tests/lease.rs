//! Leases are renewed, given back, and freeze their holder when they cannot be renewed.

use std::time::Duration;

use super::*;
use crate::backend::{Fault, Faulty, Operation, Recording};
use crate::format::names::{LEASES, ObjectName};
use crate::units::LeaseId;

const QUICK: Duration = Duration::from_millis(2);

/// Waits until something that must happen has happened.
fn eventually(mut happened: impl FnMut() -> bool) {
    for _ in 0..30_000 {
        if happened() {
            return;
        }
        std::thread::sleep(QUICK);
    }
    panic!("it did not happen within a minute");
}

fn numbers(backend: &dyn Backend, lease: LeaseId) -> Vec<u64> {
    let listed = backend.list(&format!("{LEASES}{lease}/")).unwrap();
    let number = |name: &str| match ObjectName::parse(name) {
        Some(ObjectName::Lease(_, number)) => number,
        other => panic!("{name}: {other:?}"),
    };
    listed.iter().map(|object| number(&object.name)).collect()
}

#[test]
fn a_lease_is_there_at_once_and_gone_at_the_end() {
    for place in PLACES {
        let kit = Kit::new(place);
        let lease = Lease::take(&kit.vault, &[], "a test").unwrap();
        assert_eq!(numbers(kit.backend().as_ref(), lease.id()), [0]);
        assert_eq!(lease.collection(), 0);
        lease.check().unwrap();
        drop(lease);
        assert_eq!(kit.backend().list(LEASES).unwrap(), []);
    }
}

#[test]
fn a_lease_is_renewed_under_the_next_number_before_the_last_is_removed() {
    let kit = Kit::new(Place::Memory);
    let recording = Arc::new(Recording::new(Arc::clone(kit.backend())));
    let vault = kit.behind(Arc::clone(&recording) as Arc<dyn Backend>);
    let lease = Lease::take_renewing(&vault, &[], "a test", QUICK).unwrap();
    eventually(|| recording.count(Operation::Delete) >= 3);
    lease.check().unwrap();
    let id = lease.id();
    drop(lease);
    let recorded = recording.recorded();
    let find = |operation, number| {
        let name = ObjectName::Lease(id, number).to_string();
        recorded.iter().find(|one| one.operation == operation && one.name == name).unwrap()
    };
    for number in 0..3 {
        assert!(find(Operation::Create, number + 1).ended < find(Operation::Delete, number).begun, "number {number}");
    }
    assert_eq!(kit.backend().list(LEASES).unwrap(), []);
}

#[test]
fn the_newest_collection_is_named() {
    let kit = Kit::new(Place::Memory);
    for number in [1, 2, 0x10] {
        let name = ObjectName::Collection(number).to_string();
        assert_eq!(kit.backend().create(&name, b"of a later version").unwrap(), crate::backend::Created::New);
    }
    assert_eq!(Lease::take(&kit.vault, &[], "a test").unwrap().collection(), 0x10);
}

#[test]
fn a_lease_that_cannot_be_renewed_freezes_its_holder() {
    let kit = Kit::new(Place::Memory);
    let refuse = |_: u64, operation: Operation, name: &str| {
        let renewal = name.starts_with(LEASES) && !name.ends_with("/0000000000000000");
        (operation == Operation::Create && renewal).then_some(Fault::Denied)
    };
    let vault = kit.behind(Arc::new(Faulty::new(Arc::clone(kit.backend()), refuse)));
    let lease = Lease::take_renewing(&vault, &[], "a test", QUICK).unwrap();
    eventually(|| lease.check().is_err());
    let error = lease.check().unwrap_err();
    assert!(matches!(error, StoreError::LeaseLost { lease: lost, .. } if lost == lease.id()), "{error}");
    let options = SessionOptions { compression_level: 1, avoid: HashSet::new() };
    let begun = WriteSession::begin(&vault, &lease, &reader(&vault), options);
    assert!(matches!(begun.err(), Some(StoreError::LeaseLost { .. })));
}

#[test]
fn a_lease_lost_once_stays_lost() {
    let kit = Kit::new(Place::Memory);
    let recording = Arc::new(Recording::new(Arc::clone(kit.backend())));
    let first_renewal = |_: u64, operation: Operation, name: &str| {
        (operation == Operation::Create && name.ends_with("/0000000000000001")).then_some(Fault::Io)
    };
    let faulty: Arc<dyn Backend> = Arc::new(Faulty::new(Arc::clone(&recording) as Arc<dyn Backend>, first_renewal));
    let lease = Lease::take_renewing(&kit.behind(faulty), &[], "a test", QUICK).unwrap();
    eventually(|| recording.count(Operation::Create) >= 4);
    assert!(lease.check().is_err(), "a collector may have taken it for abandoned in between");
}
