//! The order of writes, as a store sees it.

use super::*;
use crate::backend::{Operation, Recorded, Recording};
use crate::format::names::{LEASES, ObjectName, PACKS};
use crate::format::pack::PackKind;

/// A vault that is recorded, with a chunk in it.
fn recorded() -> (Kit, Arc<Recording>, Arc<Vault>) {
    let kit = Kit::new(Place::Local);
    kit.store(&[chunk(0..64)]);
    let recording = Arc::new(Recording::new(Arc::clone(kit.backend())));
    let vault = kit.behind(Arc::clone(&recording) as Arc<dyn Backend>);
    recording.forget();
    (kit, recording, vault)
}

fn first<'a>(recorded: &'a [Recorded], operation: Operation, prefix: &str) -> &'a Recorded {
    recorded.iter().find(|one| one.operation == operation && one.name.starts_with(prefix)).unwrap()
}

#[test]
fn the_lease_is_durable_before_anything_is_listed() {
    let (_kit, recording, vault) = recorded();
    let (_lease, _session) = begin(&vault, &HashSet::new()).unwrap();
    let recorded = recording.recorded();
    let leased = first(&recorded, Operation::Create, LEASES).ended;
    for list in ["packs/", "condemned/", "damaged/"] {
        assert!(leased < first(&recorded, Operation::List, list).begun, "{list}");
    }
    let written = |one: &&Recorded| matches!(one.operation, Operation::Create | Operation::Writer | Operation::Finish);
    assert_eq!(recorded.iter().filter(written).count(), 1, "nothing but the lease is written");
}

#[test]
fn blocks_are_durable_before_the_nodes_that_name_them() {
    let (kit, recording, vault) = recorded();
    let (_lease, mut session) = begin(&vault, &HashSet::new()).unwrap();
    let mut account = DiskAccount::default();
    for round in 1..4 {
        for n in 0..4 {
            let first = round * 1000 + n * 64;
            put(&vault, &mut session, &chunk(first..first + 64), &mut account).unwrap();
            session.store_node(format!("leaf {round} {n}").as_bytes()).unwrap();
        }
        session.flush().unwrap();
    }
    let recorded = recording.recorded();
    let finished = |kind: PackKind| -> Vec<&Recorded> {
        let of_kind = |one: &&Recorded| match ObjectName::parse(&one.name) {
            Some(ObjectName::Pack(pack)) => kit.reader().info(pack).unwrap().toc.kind == kind,
            _ => false,
        };
        recorded.iter().filter(|one| one.operation == Operation::Finish).filter(of_kind).collect()
    };
    let (data, nodes) = (finished(PackKind::Data), finished(PackKind::Map));
    assert_eq!((data.len(), nodes.len()), (3, 3));
    for (data, nodes) in data.iter().zip(&nodes) {
        assert!(data.ended < nodes.begun, "{} became visible before {}", nodes.name, data.name);
    }
}

#[test]
fn names_of_others_packs_are_made_durable_before_a_flush_is_done() {
    let (kit, recording, vault) = recorded();
    let (_lease, mut session) = begin(&vault, &HashSet::new()).unwrap();
    put(&vault, &mut session, &chunk(0..64), &mut DiskAccount::default()).unwrap();
    assert_eq!(recording.count(Operation::SyncNames), 0);
    session.flush().unwrap();
    let synced: Vec<String> =
        recording.recorded().into_iter().filter(|one| one.operation == Operation::SyncNames).map(|one| one.name).collect();
    let [pack] = kit.packs().try_into().unwrap();
    assert_eq!(synced, [format!("{PACKS}{:02x}/", pack.0[0])]);
}

#[test]
fn an_unchanged_chunk_costs_no_write() {
    let (_kit, recording, vault) = recorded();
    let (lease, mut session) = begin(&vault, &HashSet::new()).unwrap();
    put(&vault, &mut session, &chunk(0..64), &mut DiskAccount::default()).unwrap();
    session.flush().unwrap();
    session.vanished().unwrap();
    session.finish().unwrap();
    drop(lease);
    assert_eq!((recording.count(Operation::Writer), recording.count(Operation::Create)), (0, 1), "only the lease is put");
}
