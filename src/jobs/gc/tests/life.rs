//! What goes and what stays: points, packs, leases, leftovers; and what a collection costs that has nothing to do.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::kit::{World, blocks, impatient, sparse_world, thorough};
use crate::backend::{Backend, Created, Operation, Recording};
use crate::catalogue::CatalogueError;
use crate::format::names::ObjectName;
use crate::format::point::Decision;
use crate::format::settings::{Immutability, ImmutabilityState};
use crate::jobs::gc::{GcRequest, gc};
use crate::jobs::{JobError, points, policies};
use crate::monitor::Silent;
use crate::store::collect::claim_collection;
use crate::store::{Lease, Vault};
use crate::units::PointId;

#[test]
fn what_no_point_needs_goes_and_the_rest_stays() {
    let mut world = World::new();
    let only = world.backup("web01", &blocks(0..200));
    world.backup("web01", &blocks(500..700));
    world.delete(only);
    let before = world.names("packs/").len();
    let report = world.gc();
    assert_eq!((report.removed_points.len(), report.deleted_packs, report.new_packs), (1, 2, 0), "{report:?}");
    assert_eq!(world.names("packs/").len(), before - 2);
    let listing = points::look(&world.vault).unwrap();
    assert_eq!(listing.removed.into_iter().collect::<Vec<_>>(), [only]);
    world.check("after a collection");
    world.assert_clean("after a collection");
}

#[test]
fn a_deleted_point_stays_until_its_time_is_over() {
    let mut world = World::new();
    let point = world.backup("web01", &blocks(0..100));
    world.backup("web01", &blocks(200..300));
    let kept = world.points.clone();
    world.delete(point);
    let patient = GcRequest { soft_delete_days: Some(1), ..thorough() };
    assert_eq!(world.try_gc(&patient).unwrap().deleted_packs, 0);
    world
        .api()
        .change_state(point, Timestamp::now(), |state| {
            state.deleted = None;
            Ok(())
        })
        .unwrap();
    world.points = kept;
    world.check("after it was brought back");
    let pin = |state: &mut crate::format::point::PointState| {
        (state.deleted, state.pinned) = (Some(Timestamp::UNIX_EPOCH), true);
        Ok(())
    };
    world.api().change_state(point, Timestamp::now(), pin).unwrap();
    assert_eq!(world.gc().removed_points.len(), 0, "a pinned point");
}

#[test]
fn a_removed_point_cannot_be_brought_back() {
    let mut world = World::new();
    let point = world.backup("web01", &blocks(0..100));
    world.delete(point);
    world.gc();
    let error = world.api().change_state(point, Timestamp::now(), |_| Ok(())).unwrap_err();
    assert!(matches!(error, CatalogueError::Removed { point: removed } if removed == point), "{error}");
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let world = sparse_world();
    let before = world.names("");
    let told = world.try_gc(&GcRequest { dry_run: true, ..thorough() }).unwrap();
    assert_eq!(world.names(""), before);
    let done = world.gc();
    assert_eq!(
        (told.removed_points, told.deleted_packs, told.deleted_bytes),
        (done.removed_points, done.deleted_packs, done.deleted_bytes)
    );
    assert!(told.new_bytes > 0 && done.new_bytes > 0);
    world.check("after both");
}

/// Counts: no map node, no table of contents and no list is read again; only names are listed.
#[test]
fn a_collection_with_nothing_to_do_reads_no_map_node() {
    let mut world = World::new();
    for number in 0..5_u64 {
        world.backup("web01", &blocks((0..200).map(|block| if block / 40 == number { block + 1000 * (number + 1) } else { block })));
    }
    world.gc();
    world.check("after the first");
    let recording = Arc::new(Recording::new(Arc::new(world.backend.clone())));
    let vault =
        Arc::new(Vault::open(Arc::clone(&recording) as Arc<dyn Backend>, &crate::crypt::slot::Unlock::Nothing, world.cache()).unwrap());
    recording.forget();
    let quiet = GcRequest { repack_below_percent: 70.0, ..thorough() };
    let report = gc(&vault, &quiet, &impatient(), &Silent).unwrap();
    assert_eq!((report.deleted_packs, report.new_packs), (0, 0), "{report:?}");
    let reads = |one: &crate::backend::Recorded| {
        one.name.starts_with("packs/") && matches!(one.operation, Operation::Get | Operation::GetRange | Operation::Size)
    };
    let read: Vec<_> = recording.recorded().into_iter().filter(reads).collect();
    assert!(read.is_empty(), "{read:?}");
    assert!(recording.recorded().len() < 60, "{:?}", recording.recorded());
}

#[test]
fn the_memory_of_marks_is_as_good_as_reading_all_again() {
    let mut world = World::new();
    let mut points = Vec::new();
    for number in 0..6_u64 {
        points.push(
            world.backup("web01", &blocks((0..130).map(|block| if block % 6 == number { block + 1000 * (number + 1) } else { block }))),
        );
        if number % 2 == 1 {
            world.delete(points[number as usize - 1]);
        }
        let fresh = world.copy();
        let (remembering, forgetting) = (world.gc(), fresh.gc());
        assert_eq!(remembering.live_slots, forgetting.live_slots, "round {number}");
        assert_eq!(remembering.deleted_packs, forgetting.deleted_packs, "round {number}");
        world.check("with a memory");
        fresh.check("without one");
    }
}

#[test]
fn leases_of_the_dead_are_taken_away_with_what_they_left() {
    let mut world = World::new();
    world.backup("web01", &blocks(0..100));
    let lease = Lease::take(&world.vault, &[], "a writer that is killed").unwrap();
    // What a writer leaves that is killed after its manifest and before its verdict.
    let mut manifest = world.points[0].0.clone();
    manifest.point = PointId([7; 16]);
    world.api().put(&manifest).unwrap();
    let report = world.gc();
    assert_eq!((report.expired_leases, report.revoked_points), (1, 1), "{report:?}");
    assert_eq!(world.names("leases/"), [""; 0]);
    assert!(!world.names("points/").contains(&ObjectName::Point(manifest.point).to_string()));
    assert_eq!(world.api().verdict(manifest.point).unwrap().unwrap().decision, Decision::Revoked);
    assert_eq!(world.api().publish(manifest.point, lease.id(), Timestamp::now()).unwrap(), Decision::Revoked, "a writer that comes back");
    assert!(matches!(lease.confirm(), Err(crate::store::StoreError::LeaseLost { .. })));
    world.check("after that");
}

#[test]
fn what_a_reader_has_open_is_kept_and_not_waited_for() {
    let mut world = World::new();
    let point = world.backup("web01", &blocks(0..100));
    world.backup("web01", &blocks(200..300));
    let open = world.points.clone();
    let lease = Lease::take_to_read(&world.vault, &[point], "a mount").unwrap();
    assert!(lease.is_some());
    world.delete(point);
    let patient = crate::jobs::gc::Patience { expires_after: std::time::Duration::MAX, ..impatient() };
    let report = gc(&world.vault, &thorough(), &patient, &Silent).unwrap();
    assert_eq!((report.removed_points.len(), report.deleted_packs), (0, 0), "{report:?}");
    let after = world.points.clone();
    world.points = open;
    world.check_with(&crate::jobs::testing::readers(&world.vault, &world.points[0].0.disks[0]).0, "while it is open");
    world.points = after;
    drop(lease);
    assert_eq!(world.gc().removed_points.len(), 1);
}

/// Whoever finds a collection at work whose lease moves leaves the vault to it.
#[test]
fn two_collections_at_once_one_is_polite() {
    struct Renewing(Lease);
    impl crate::backend::Clock for Renewing {
        fn now(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }
        fn sleep(&self, _: std::time::Duration) {
            self.0.confirm().unwrap();
        }
    }
    let world = sparse_world();
    let other = Lease::take(&world.vault, &[], "collection by another").unwrap();
    assert!(claim_collection(&world.vault, 1, other.id(), Timestamp::now()).unwrap());
    let before = world.names("packs/");
    let patience = crate::jobs::gc::Patience { clock: Arc::new(Renewing(other)), ..impatient() };
    let error = gc(&world.vault, &thorough(), &patience, &Silent).unwrap_err();
    assert!(matches!(&error, JobError::Collecting { holder } if holder == "collection by another"), "{error}");
    assert_eq!(world.names("packs/"), before);
    drop(patience);
    assert!(world.gc().deleted_packs > 0, "its lease was given back");
    world.check("after that");
}

#[test]
fn a_lost_manifest_stops_collection_unless_it_is_given_up() {
    let mut world = sparse_world();
    let lost = world.points[0].0.point;
    world.backend.delete(&ObjectName::Point(lost).to_string()).unwrap();
    let error = world.try_gc(&thorough()).unwrap_err();
    assert!(matches!(error, JobError::PointsLost { point, .. } if point == lost), "{error}");
    world.points.remove(0);
    let report = world.try_gc(&GcRequest { give_up_lost_points: true, ..thorough() }).unwrap();
    assert!(report.deleted_packs > 0);
    let packs = crate::store::PackReader::new(Arc::new(world.backend.clone()), Arc::clone(world.vault.keys()), 1 << 20);
    world.check_with(&Arc::new(packs), "the other points");
}

#[test]
fn unfinished_packs_of_the_dead_are_removed() {
    let directory = tempfile::tempdir().unwrap();
    let backend = crate::backend::LocalDirectory::create(&directory.path().join("vault")).unwrap();
    let new = crate::store::NewVault {
        compression_level: 1,
        frame_blocks: 16,
        dedup_scope: crate::format::vault::DedupScope::Vault,
        writers: crate::format::vault::Writers::Many,
    };
    let cost = crate::crypt::slot::PassphraseCost::default();
    let vault = Arc::new(Vault::create(Arc::new(backend), new, &crate::crypt::slot::Unlock::Nothing, cost, directory.path()).unwrap());
    assert_eq!(vault.backend().create("packs/aa/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", b"no pack").unwrap(), Created::New);
    std::fs::write(directory.path().join("vault/packs/aa/.tmp-pack-1"), vec![1; 5000]).unwrap();
    let report = gc(&vault, &thorough(), &impatient(), &Silent).unwrap();
    assert_eq!((report.unfinished_files, report.unfinished_bytes), (1, 5000));
    assert_eq!(vault.backend().leftovers().unwrap(), []);
}

/// What a set of points needs alone is what a collection deletes after it was deleted.
#[test]
fn the_size_of_points_is_what_their_deletion_frees() {
    let mut world = World::new();
    let first = world.backup("web01", &blocks(0..100));
    let second = world.backup("web01", &blocks((0..50).chain(300..350)));
    world.backup("web01", &blocks((0..50).chain(400..450)));
    let other = world.backup("db01", &blocks((60..80).chain(500..510)));
    let vault = Arc::clone(&world.vault);
    let size = |points: &[PointId]| {
        let listing = points::look(&vault).unwrap();
        let found = crate::jobs::gc::size_of_points(&vault, &listing, points, &Silent).unwrap();
        let machines: Vec<_> =
            found.machines.iter().map(|one| (one.machine.to_string(), one.unique_bytes / 4096, one.shared_bytes / 4096)).collect();
        (found.freed_bytes / 4096, machines, found.freed_stored_bytes)
    };
    let web = |unique, shared| ("web01".to_owned(), unique, shared);
    assert_eq!((size(&[first]).0, size(&[first]).1), (30, vec![web(30, 70)]));
    assert_eq!((size(&[second]).0, size(&[second]).1), (50, vec![web(50, 50)]));
    assert_eq!((size(&[first, second]).0, size(&[first, second]).1), (80, vec![web(80, 70)]));
    let all = size(&[other, first, second]);
    assert_eq!((all.0, all.1), (110, vec![("db01".to_owned(), 30, 0), web(100, 50)]), "20 blocks are two machines' and go with both");
    let before: u64 = world.backend.list("packs/").unwrap().iter().map(|object| object.size_bytes).sum();
    [other, first, second].into_iter().for_each(|point| world.delete(point));
    world.gc();
    let after: u64 = world.backend.list("packs/").unwrap().iter().map(|object| object.size_bytes).sum();
    assert!((before - after).abs_diff(all.2) < 16 * 1024, "said {}, freed {}", all.2, before - after);
}

#[test]
fn an_immutable_vault_and_a_clock_that_is_behind_keep_what_was_deleted() {
    let mut world = World::new();
    let point = world.backup("web01", &blocks(0..100));
    world.backup("web01", &blocks(200..300));
    world.delete(point);
    let now = Timestamp::now();
    let immutable = |state, days| policies::set_immutability(&world.vault, Immutability { state, days }, now).unwrap();
    immutable(ImmutabilityState::Enabled, 30);
    assert_eq!(world.gc().removed_points.len(), 0, "immutable");
    immutable(ImmutabilityState::Disabled, 0);
    let behind = GcRequest { now: now - SignedDuration::from_hours(1), ..thorough() };
    assert_eq!(world.try_gc(&behind).unwrap().removed_points.len(), 0, "an hour behind");
    assert_eq!(world.gc().removed_points.len(), 1);
}
