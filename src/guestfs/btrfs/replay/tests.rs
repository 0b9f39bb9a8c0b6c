//! What no work on today's kernels brings about: they commit everything instead. Logs that earlier ones may have left are put together here.

use super::super::layout::extref_hash;
use super::super::tests::images::Images;
use super::super::volume::Volume;
use super::*;
use crate::guestfs::OpenOptions;

/// The data of a reference that is an item of its own.
fn reference(directory: u64, index: u64, name: &[u8]) -> Vec<u8> {
    let length = u16::try_from(name.len()).expect("short").to_le_bytes();
    [&directory.to_le_bytes()[..], &index.to_le_bytes(), &length, name].concat()
}

/// A file has so many names that further ones have items of their own, under keys that the names decide. One of these was changed: the
/// log has the new one, and nothing of the old one.
#[test]
fn a_name_in_an_item_of_its_own_that_was_changed() {
    let name = |at: usize| format!("{at}{}", "x".repeat(200));
    let Some(images) = Images::made(1, 256 << 20, &["-n", "4096"]) else { return };
    {
        let Some(mount) = images.mount("noatime") else { return };
        std::fs::write(mount.join(&name(0)), b"contents").expect("written");
        (1..40).for_each(|at| std::fs::hard_link(mount.join(&name(0)), mount.join(&name(at))).expect("linked"));
    }
    let volume = Volume::open(&images.devices(), &OpenOptions::default()).expect("sound");
    let (directory, tree) = (volume.subvolumes[0].directory, &volume.subvolumes[0].tree);
    let (old, new) = (name(38).into_bytes(), name(99).into_bytes());
    let key_of = |item: &Item, name: &[u8]| Key::new(item.key.objectid, kind::INODE_EXTREF, extref_hash(directory, name));
    let items: Vec<Item> = tree.all().collect::<GuestResult<_>>().expect("sound");
    let changed = items.iter().find(|item| item.key == key_of(item, &old)).expect("there are too many names for one item");
    let file = changed.key.objectid;

    let mut log = Tree::clone(tree);
    for item in &items {
        if item.key.objectid != file || item.key.kind == kind::EXTENT_DATA || item.key == changed.key {
            log.overlay.insert(item.key, None);
        }
    }
    log.overlay.insert(key_of(changed, &new), Some(reference(directory, 1_000, &new).into()));
    let mut checksums = BTreeMap::new();
    let mut replay = Replay {
        log: &log,
        tree: Tree::clone(tree),
        fixups: BTreeSet::new(),
        ignored: HashSet::new(),
        checksums: &mut checksums,
        bytes: 0,
        sector_bytes: 4096,
        transaction: 100,
    };
    replay.run().expect("sound");

    let mut names = Vec::new();
    super::super::directory::each_reference(&replay.tree, file, |reference| names.push(reference.name.to_vec())).expect("sound");
    assert!(names.contains(&new) && !names.contains(&old), "{} names", names.len());
    let listed = replay.tree.range(Key::first(directory, kind::DIR_INDEX), Key::last(directory, kind::DIR_INDEX));
    let listed: Vec<u8> = listed.flat_map(|item| item.expect("sound").data.to_vec()).collect();
    let is_listed = |name: &[u8]| listed.windows(name.len()).any(|part| part == name);
    assert!(is_listed(&new) && is_listed(&name(37).into_bytes()) && !is_listed(&old));
    assert_eq!(replay.inode(file).expect("sound").map(|inode| inode.links), Some(40));
}
