//! Blocks and nodes that move: found wherever they are, by readers old and new, and by later backups.

use std::sync::Arc;

use super::kit::{World, blocks, sparse_world, thorough};
use crate::backend::Backend;
use crate::format::control::Moved;
use crate::format::envelope::ObjectKind;
use crate::jobs::gc::GcRequest;
use crate::store::PackReader;

fn reader(world: &World) -> Arc<PackReader> {
    Arc::new(PackReader::new(Arc::new(world.backend.clone()), Arc::clone(world.vault.keys()), 0))
}

#[test]
fn sparse_packs_are_emptied_and_everything_is_found() {
    let world = sparse_world();
    let old = reader(&world);
    world.check_with(&old, "before");
    let report = world.gc();
    assert!(report.new_packs > 0 && report.deleted_packs >= 2, "{report:?}");
    world.check_with(&old, "by a reader that is older than the move");
    world.check("by a new one");
    world.assert_clean("after a move");
}

#[test]
fn a_full_pack_is_left_alone_by_default() {
    let mut world = World::new();
    let first = world.backup("web01", &blocks(0..100));
    world.backup("web01", &blocks((0..80).chain(500..520)));
    world.delete(first);
    let report = world.try_gc(&GcRequest { repack_below_percent: 70.0, ..thorough() }).unwrap();
    assert_eq!(report.new_packs, 0, "{report:?}");
    let report = world.try_gc(&GcRequest { repack_below_percent: 81.0, ..thorough() }).unwrap();
    assert_eq!(report.new_packs, 1, "{report:?}");
    world.check("after both");
}

/// Blocks move again and again, get new names by deduplication in between, and lists of moved ranges stay one step long.
#[test]
fn blocks_move_however_often_and_under_however_many_names() {
    let mut world = World::new();
    let old = reader(&world);
    let keep = world.backup("keeper", &blocks(0..40));
    for round in 0..6_u64 {
        // Names old blocks by where they are now, beside new ones that go with the next collection.
        let passing = world.backup("web01", &blocks((0..30).chain(1000 * (round + 1)..1000 * (round + 1) + 50)));
        world.backup("db01", &blocks((10 * round..10 * round + 20).chain(7000..7010)));
        world.delete(passing);
        world.gc();
        world.check(&format!("round {round}"));
        world.check_with(&old, &format!("an old reader, round {round}"));
    }
    for name in world.names("moved/") {
        let opened = world.vault.keys().open_object(ObjectKind::Moved, &name, &world.backend.get(&name).unwrap()).unwrap();
        for range in Moved::decode(&opened.body).unwrap().ranges {
            let pack = crate::format::names::ObjectName::Pack(range.pack).to_string();
            assert!(world.backend.size_bytes(&pack).unwrap().is_some(), "{name} names {pack}, which is gone");
        }
    }
    assert!(world.points.iter().any(|(manifest, _)| manifest.point == keep));
    let all: Vec<_> = world.points.iter().map(|(manifest, _)| manifest.point).collect();
    all.into_iter().for_each(|point| world.delete(point));
    world.gc();
    for prefix in ["packs/", "moved/", "points/", "condemned/"] {
        assert_eq!(world.names(prefix), [""; 0], "everything was deleted");
    }
}

#[test]
fn what_is_copied_at_one_time_is_bounded() {
    let mut world = World::new();
    let mut deleted = Vec::new();
    for number in 0..4_u64 {
        deleted.push(world.backup("web01", &blocks(number * 1000..number * 1000 + 60)));
        world.backup("db01", &blocks(number * 1000..number * 1000 + 20));
    }
    deleted.into_iter().for_each(|point| world.delete(point));
    let report = world.try_gc(&GcRequest { max_copy_bytes: 22 * 4096, ..thorough() }).unwrap();
    assert!(world.names("collections/")[0].as_str() > "collections/0000000000000002", "several rounds: {report:?}");
    assert_eq!(report.left_packs, 0);
    world.check("after several rounds");
    world.assert_clean("after several rounds");
}

#[test]
fn small_packs_are_merged_when_they_are_many() {
    let mut world = World::new();
    for number in 0..9_u64 {
        world.backup("web01", &blocks((0..40).map(|block| if block == number { 100 + number } else { block })));
    }
    let report = world.try_gc(&GcRequest { repack_below_percent: 0.0, ..thorough() }).unwrap();
    assert_eq!((report.deleted_packs, report.new_packs), (18, 2), "{report:?}");
    world.check("after they were merged");
    let again = world.try_gc(&GcRequest { repack_below_percent: 0.0, ..thorough() }).unwrap();
    assert_eq!((again.deleted_packs, again.new_packs), (0, 0));
}

#[test]
fn later_backups_find_blocks_where_they_are_now() {
    let mut world = sparse_world();
    world.gc();
    let bytes = blocks(0..64);
    world.backup("another", &bytes);
    let statistics = world.points.last().unwrap().0.disks[0].statistics;
    assert_eq!(statistics.new_bytes, 0, "moved blocks were stored again");
    world.check("after a backup of moved blocks");
    world.gc();
    world.check("after the next collection");
}
