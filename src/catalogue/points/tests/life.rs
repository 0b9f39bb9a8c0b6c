//! The life of a point: put, decided, changed, deleted, removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::backend::{Backend, Fault, Faulty, MemoryBackend, Operation, Recording};
use crate::catalogue::CatalogueError;
use crate::catalogue::points::StoredManifest;
use crate::catalogue::testkit::{LEASE, Vault, id, ids, manifest, time};
use crate::format::names::ObjectName;
use crate::format::point::Decision;
use crate::units::LeaseId;

#[test]
fn a_manifest_reads_back_with_the_hash_of_its_object() {
    let vault = Vault::new();
    let manifest = manifest("web01", 1);
    let hash = vault.points().put(&manifest).expect("memory");
    let object = vault.backend.get(&ObjectName::Point(id(1)).to_string()).expect("memory");
    assert_eq!(hash, *blake3::hash(&object).as_bytes());
    assert_eq!(vault.points().read(id(1)).expect("memory"), StoredManifest { manifest, hash });
}

#[test]
fn a_taken_name_is_a_conflict() {
    let vault = Vault::new();
    vault.points().put(&manifest("web01", 1)).expect("memory");
    let error = vault.points().put(&manifest("web02", 1)).expect_err("a taken name");
    assert!(matches!(error, CatalogueError::Conflict { .. }), "{error}");
    assert_eq!(vault.points().read(id(1)).expect("memory").manifest.machine.as_str(), "web01");
}

#[test]
fn the_first_verdict_decides() {
    let vault = Vault::new();
    for number in [1, 2] {
        vault.points().put(&manifest("web01", number)).expect("memory");
    }
    assert_eq!(vault.points().publish(id(1), LEASE, time(5)).expect("memory"), Decision::Published);
    assert_eq!(vault.points().revoke(id(1), LeaseId([3; 16]), time(6)).expect("memory"), Decision::Published);
    assert_eq!(vault.points().revoke(id(2), LeaseId([3; 16]), time(6)).expect("memory"), Decision::Revoked);
    assert_eq!(vault.points().publish(id(2), LEASE, time(7)).expect("memory"), Decision::Revoked);
    let verdict = vault.points().verdict(id(1)).expect("memory").expect("a verdict");
    assert_eq!((verdict.decision, verdict.lease, verdict.time), (Decision::Published, LEASE, time(5)));
}

/// Many threads decide about one point: all of them are told the same.
#[test]
fn all_that_decide_at_once_hear_the_same() {
    let vault = Vault::new();
    for number in 1..=20 {
        vault.points().put(&manifest("web01", number)).expect("memory");
        let vault = &vault;
        let heard: Vec<Decision> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4_u8)
                .map(|thread| {
                    scope.spawn(move || match thread % 2 {
                        0 => vault.points().publish(id(number), LeaseId([thread; 16]), time(0)),
                        _ => vault.points().revoke(id(number), LeaseId([thread; 16]), time(0)),
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic").expect("memory")).collect()
        });
        assert!(heard.iter().all(|decision| *decision == heard[0]), "point {number}: {heard:?}");
    }
}

/// The store did what was asked, but the answer was lost: the point is there, and so is its verdict.
#[test]
fn a_lost_answer_is_looked_up() {
    let memory = Arc::new(MemoryBackend::new());
    let lose = |_, operation, _: &str| (operation == Operation::Create).then_some(Fault::Unclear);
    let vault = Vault::on(Arc::new(Faulty::new(memory, lose)));
    vault.points().put(&manifest("web01", 1)).expect("the manifest is there");
    assert_eq!(vault.points().publish(id(1), LEASE, time(1)).expect("the verdict is there"), Decision::Published);
    vault.points().delete_point(id(1), time(2)).expect("the state is there");
    assert_eq!(ids(&vault.list().deleted), [id(1)]);
}

#[test]
fn listings_keep_apart_what_users_do_not_see() {
    let vault = Vault::new();
    for number in [3, 1] {
        vault.publish(&manifest("web01", number));
    }
    vault.publish(&manifest("db01", 2));
    vault.points().put(&manifest("web01", 4)).expect("memory");
    vault.points().put(&manifest("web01", 5)).expect("memory");
    vault.points().revoke(id(5), LEASE, time(9)).expect("memory");
    vault.publish(&manifest("web01", 6));
    vault.points().delete_point(id(6), time(10)).expect("memory");
    // A collection took this one's manifest away after it was revoked.
    vault.points().put(&manifest("web01", 7)).expect("memory");
    vault.points().revoke(id(7), LEASE, time(9)).expect("memory");
    vault.backend.delete(&ObjectName::Point(id(7)).to_string()).expect("memory");
    let listing = vault.list();
    assert_eq!(ids(&listing.points), [id(2), id(1), id(3)], "by machine, then time");
    assert_eq!((ids(&listing.pending), ids(&listing.deleted)), (vec![id(4)], vec![id(6)]));
    assert!(listing.removed.is_empty() && listing.problems.is_empty(), "{:?}", listing.problems);
    assert_eq!(listing.points[0].name(), "db01@2026-11-22T20:00:02Z");
    let config = &listing.points[0].manifest.configs[0];
    assert_eq!((config.name.as_str(), config.bytes.len()), ("web01.xml", 0), "configurations are not kept in memory");
}

/// The predecessor is the machine's last published point, deleted or not, by number and not by time.
#[test]
fn the_predecessor_is_the_highest_published_number() {
    let vault = Vault::new();
    let mut restored_clock = manifest("web01", 3);
    restored_clock.time = time(-1000);
    vault.publish(&manifest("web01", 2));
    vault.publish(&restored_clock);
    vault.points().put(&manifest("web01", 4)).expect("memory");
    vault.publish(&manifest("db01", 9));
    let machine = "web01".parse().expect("a name");
    assert_eq!(vault.list().last_of(&machine).map(|last| last.point()), Some(id(3)));
    vault.points().delete_point(id(3), time(5)).expect("memory");
    assert_eq!(vault.list().last_of(&machine).map(|last| last.point()), Some(id(3)));
    assert_eq!(vault.list().last_of(&"other".parse().expect("a name")), None);
}

#[test]
fn the_highest_state_counts() {
    let vault = Vault::new();
    vault.publish(&manifest("web01", 1));
    assert_eq!(vault.points().state(id(1)).expect("memory"), None);
    for number in 1..=20_u64 {
        let tag = format!("tag{number}");
        let change = |state: &mut crate::format::point::PointState| {
            state.tags.push(tag.clone());
            state.pinned = number % 2 == 1;
            Ok(())
        };
        vault.points().change_state(id(1), time(5), change).expect("memory");
    }
    let (number, state) = vault.points().state(id(1)).expect("memory").expect("a state");
    assert_eq!((number, state.tags.len(), state.tags[0].as_str(), state.pinned), (20, 21, "nightly", false));
    let listing = vault.list();
    assert_eq!(listing.points[0].tags(), state.tags);
    assert!(!listing.points[0].pinned());
}

/// While one change is made up, another takes its number: it is made up again from what is there then.
#[test]
fn a_change_that_lost_its_number_is_made_again() {
    let vault = Vault::new();
    vault.publish(&manifest("web01", 1));
    let mut others = 3;
    let change = |state: &mut crate::format::point::PointState| {
        if others > 0 {
            others -= 1;
            let tag = |state: &mut crate::format::point::PointState| {
                state.tags.push(format!("other{others}"));
                Ok(())
            };
            vault.points().change_state(id(1), time(5), tag)?;
        }
        state.tags.push("mine".to_owned());
        Ok(())
    };
    let state = vault.points().change_state(id(1), time(6), change).expect("memory");
    assert_eq!(state.tags, ["nightly", "other2", "other1", "other0", "mine"]);
    assert_eq!(vault.points().state(id(1)).expect("memory").map(|(number, _)| number), Some(4));
}

/// Ten threads append a tag each to the same point: none is lost.
#[test]
fn changes_at_the_same_time_are_all_kept() {
    let vault = Vault::new();
    vault.publish(&manifest("web01", 1));
    std::thread::scope(|scope| {
        for thread in 0..10 {
            let vault = &vault;
            scope.spawn(move || {
                vault.points().change_state(id(1), time(5), |state| {
                    state.tags.push(thread.to_string());
                    Ok(())
                })
            });
        }
    });
    let (number, state) = vault.points().state(id(1)).expect("memory").expect("a state");
    let tags: BTreeSet<&str> = state.tags.iter().map(String::as_str).collect();
    assert_eq!((number, tags.len()), (10, 11));
}

#[test]
fn only_published_points_change() {
    let vault = Vault::new();
    vault.points().put(&manifest("web01", 1)).expect("memory");
    for point in [id(1), id(2)] {
        let error = vault.points().delete_point(point, time(5)).expect_err("not published");
        assert!(matches!(error, CatalogueError::NoPoint { .. }), "{error}");
    }
}

#[test]
fn what_is_to_be_kept_is_not_deleted() {
    let vault = Vault::new();
    let mut kept = manifest("web01", 1);
    kept.retain_until = Some(time(1000));
    vault.publish(&kept);
    vault.publish(&manifest("web01", 2));
    let pin = |state: &mut crate::format::point::PointState| {
        state.pinned = true;
        Ok(())
    };
    vault.points().change_state(id(2), time(5), pin).expect("memory");
    insta::assert_snapshot!(vault.points().delete_point(id(1), time(999)).expect_err("too early"), @"recovery point 01010101010101010101010101010101 cannot be deleted: it is to be kept until 2026-11-22T20:16:40Z");
    insta::assert_snapshot!(vault.points().delete_point(id(2), time(999)).expect_err("pinned"), @"recovery point 02020202020202020202020202020202 cannot be deleted: it is pinned");
    assert_eq!(vault.list().points.len(), 2);
    vault.points().delete_point(id(1), time(1000)).expect("its time has come");
    assert_eq!(ids(&vault.list().deleted), [id(1)]);
}

#[test]
fn deleting_twice_changes_nothing() {
    let vault = Vault::new();
    vault.publish(&manifest("web01", 1));
    vault.points().delete_point(id(1), time(5)).expect("memory");
    let again = vault.points().delete_point(id(1), time(50)).expect("memory");
    assert_eq!(again.deleted, Some(time(5)));
    assert_eq!(vault.points().state(id(1)).expect("memory").map(|(number, _)| number), Some(1));
}

/// What a collection leaves of a deleted point is its tombstone, not damage.
#[test]
fn a_tombstone_is_no_damage() {
    let vault = Vault::new();
    vault.publish(&manifest("web01", 1));
    vault.points().delete_point(id(1), time(5)).expect("memory");
    vault.backend.delete(&ObjectName::Point(id(1)).to_string()).expect("memory");
    let listing = vault.list();
    assert_eq!(listing.removed, BTreeSet::from([id(1)]));
    assert!(listing.points.is_empty() && listing.deleted.is_empty() && listing.problems.is_empty());
}

/// A listing asks for names three times and for each small object once; it reads no pack.
#[test]
fn a_listing_reads_small_objects_once() {
    let memory = Arc::new(MemoryBackend::new());
    let vault = Vault::on(memory.clone());
    for number in 1..=10 {
        vault.publish(&manifest("web01", number));
        vault.points().delete_point(id(number), time(1)).expect("memory");
        vault.points().change_state(id(number), time(2), |_| Ok(())).expect("memory");
    }
    assert!(memory.create("packs/aa/aa00", b"not a point").is_ok());
    let recording = Arc::new(Recording::new(memory));
    let vault = Vault::on(recording.clone());
    assert_eq!(vault.list().deleted.len(), 10);
    let recorded = recording.recorded();
    let count = |operation| recorded.iter().filter(|recorded| recorded.operation == operation).count();
    assert_eq!((count(Operation::List), count(Operation::Get), recorded.len()), (3, 30, 33));
}
