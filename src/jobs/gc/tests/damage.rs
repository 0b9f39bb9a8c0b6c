//! Damage: what cannot be read may be needed, and nothing that might be is deleted.

use super::kit::{World, blocks, sparse_world, thorough};
use crate::backend::{Backend, Created};
use crate::format::names::ObjectName;
use crate::format::pack::PackKind;
use crate::store::PackReader;
use crate::store::collect::read_table;
use crate::units::PackId;
use std::sync::Arc;

fn packs(world: &World, kind: PackKind) -> Vec<PackId> {
    let reader = PackReader::new(Arc::new(world.backend.clone()), Arc::clone(world.vault.keys()), 0);
    let pack = |name: &String| if let Some(ObjectName::Pack(pack)) = ObjectName::parse(name) { pack } else { panic!("{name}") };
    let all = world.names("packs/");
    all.iter().map(pack).filter(|pack| read_table(&reader, *pack).is_ok_and(|table| table.kind == kind)).collect()
}

fn replace(world: &World, name: &str, bytes: &[u8]) {
    world.backend.delete(name).unwrap();
    assert_eq!(world.backend.create(name, bytes).unwrap(), Created::New);
}

/// A map node that cannot be read may name anything that its summary admits.
#[test]
fn blocks_below_a_damaged_node_are_kept() {
    let world = sparse_world();
    for pack in packs(&world, PackKind::Map) {
        let copy = world.copy();
        let name = ObjectName::Pack(pack).to_string();
        let good = copy.backend.get(&name).unwrap();
        let mut bad = good.clone();
        bad[20] ^= 1;
        replace(&copy, &name, &bad);
        copy.try_gc(&thorough()).unwrap();
        if copy.backend.size_bytes(&name).unwrap().is_some() {
            replace(&copy, &name, &good);
        }
        copy.check("after the node was put back");
        copy.gc();
        copy.check("after another collection");
    }
}

/// A frame that cannot be read stays where it is, with the pack that it is in; everything else goes on.
#[test]
fn a_damaged_frame_stays_in_its_pack() {
    let world = sparse_world();
    for pack in packs(&world, PackKind::Data) {
        let copy = world.copy();
        let name = ObjectName::Pack(pack).to_string();
        let good = copy.backend.get(&name).unwrap();
        let mut bad = good.clone();
        bad[5] ^= 1;
        replace(&copy, &name, &bad);
        copy.try_gc(&thorough()).unwrap();
        copy.try_gc(&thorough()).unwrap();
        if copy.backend.size_bytes(&name).unwrap().is_some() {
            replace(&copy, &name, &good);
        }
        copy.check("after the frame was put back");
        copy.gc();
        copy.check("after another collection");
        copy.assert_clean("after another collection");
    }
}

/// New packs say where their slots were born: without lists of moved ranges nothing is taken for dead.
#[test]
fn a_lost_list_of_moved_ranges_is_made_anew() {
    let mut world = sparse_world();
    world.gc();
    for name in world.names("moved/") {
        world.backend.delete(&name).unwrap();
    }
    let passing = world.backup("other", &blocks(20_000..20_040));
    world.delete(passing);
    world.gc();
    // Emptied once more, the packs are read by their tables of births, and readers are told.
    world.points.retain(|(manifest, _)| manifest.machine.as_str() != "other");
    let kept = world.names("packs/").len();
    assert!(kept > 0);
}
