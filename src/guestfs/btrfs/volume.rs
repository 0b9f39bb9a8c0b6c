//! Opening a filesystem: devices, chunks, the trees of its subvolumes, and what its log changes in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::fields::{array, le64};
use super::super::{About, Device, GuestError, GuestResult, OpenOptions};
use super::chunk::ChunkMap;
use super::data::Data;
use super::items::{RootItem, named};
use super::layout::{Key, kind, name_hash, object};
use super::pool::{Disk, Pool};
use super::replay;
use super::superblock::Superblock;
use super::tree::Tree;

/// Subvolumes and snapshots of one filesystem: they have 20 bits in a node's number.
const MOST_SUBVOLUMES: usize = 1 << 20;

/// Errors that are passed over in one listing.
const MOST_PROBLEMS: usize = 1000;

/// Errors that are passed over, of which the first is kept.
#[derive(Default)]
pub(super) struct Problems {
    pub(super) first: Option<GuestError>,
    count: usize,
}

impl Problems {
    pub(super) fn add(&mut self, error: GuestError) {
        self.first.get_or_insert(error);
        self.count = self.count.saturating_add(1);
    }

    /// Whether it is time to give up.
    pub(super) fn are_many(&self) -> bool {
        self.count > MOST_PROBLEMS
    }
}

/// A subvolume or snapshot.
pub(super) struct Subvolume {
    pub(super) id: u64,
    /// The inode of its topmost directory.
    pub(super) directory: u64,
    pub(super) tree: Arc<Tree>,
}

/// An open filesystem.
pub(super) struct Volume {
    pub(super) about: About,
    pub(super) data: Arc<Data>,
    /// The tree of trees.
    pub(super) roots: Tree,
    /// By number; the first is the topmost.
    pub(super) subvolumes: Vec<Subvolume>,
}

/// The devices that belong together, by number, and the superblock of the newest.
struct Found {
    superblock: Superblock,
    disks: BTreeMap<u64, Disk>,
    notes: Vec<String>,
}

fn find_devices(devices: &[Device]) -> GuestResult<Found> {
    let mut problem = None;
    let mut superblocks = Vec::new();
    for (index, device) in devices.iter().enumerate() {
        match Superblock::read(device.as_ref()) {
            Ok((superblock, is_copy)) => superblocks.push((index, superblock, is_copy)),
            Err(error) => problem = Some(problem.unwrap_or(error)),
        }
    }
    // Of equally new ones the kernel believes the device with the lowest number.
    let newest = superblocks.iter().min_by_key(|(_, superblock, _)| (u64::MAX.saturating_sub(superblock.generation), superblock.device));
    let Some((_, superblock, _)) = newest else {
        return Err(problem.unwrap_or_else(|| GuestError::unsupported("btrfs without a device")));
    };
    let superblock = superblock.clone();
    let mut notes: Vec<String> = problem.map(|error| format!("a device is left out: {error}")).into_iter().collect();
    superblocks.sort_by_key(|(_, other, _)| u64::MAX.saturating_sub(other.generation));
    let mut disks = BTreeMap::new();
    for (index, other, is_copy) in superblocks {
        let number = other.device;
        if other.pool != superblock.pool {
            notes.push(format!("device {number} is left out: it belongs to another filesystem"));
            continue;
        }
        if disks.contains_key(&number) {
            notes.push(format!("there are two devices {number}: the older one is left out"));
            continue;
        }
        if is_copy {
            notes.push(format!("the first superblock of device {number} is damaged: a copy was used"));
        }
        let is_stale = other.generation < superblock.generation;
        if is_stale {
            notes.push(format!("device {number} missed the last changes: the others are read first"));
        }
        let (Some(source), Ok(index)) = (devices.get(index), u32::try_from(index)) else { continue };
        disks.insert(number, Disk { source: Arc::clone(source), index, is_stale });
    }
    Ok(Found { superblock, disks, notes })
}

/// Reads all chunks, and refuses a filesystem that stands on a seed.
fn read_chunks(pool: &Arc<Pool>, superblock: &Superblock, present: &BTreeSet<u64>, notes: &mut Vec<String>) -> GuestResult<ChunkMap> {
    let mut chunks = ChunkMap::default();
    let mut problems = Problems::default();
    let tree = Tree::new(pool, superblock.chunk_tree);
    for item in tree.all() {
        let added = item.and_then(|item| match item.key.kind {
            kind::CHUNK_ITEM => chunks.add(item.key, &item.data),
            kind::DEV_ITEM if item.key.objectid == object::DEV_ITEMS => {
                let fsid = array(&item.data, 82);
                if fsid != superblock.pool && fsid != superblock.metadata_uuid {
                    return Err(GuestError::unsupported("a btrfs that was made from a seed device"));
                }
                let number = le64(&item.data, 0);
                if number != 0 && !present.contains(&number) {
                    notes.push(format!("device {number} is missing: what has no copy elsewhere cannot be read"));
                }
                Ok(())
            }
            _ => Ok(()),
        });
        match added {
            Err(error @ (GuestError::Unsupported { .. } | GuestError::Limit { .. })) => return Err(error),
            Err(error) => problems.add(error),
            Ok(()) => {}
        }
        if problems.are_many() {
            break;
        }
    }
    if chunks.is_empty() {
        return Err(problems.first.unwrap_or_else(|| GuestError::damaged("the chunk tree", "it has no chunk")));
    }
    if let Some(problem) = problems.first {
        notes.push(format!("not all chunks are known, so parts may be unreadable: {problem}"));
    }
    Ok(chunks)
}

fn read_root(roots: &Tree, tree: u64) -> GuestResult<Option<RootItem>> {
    let item = roots.last_up_to(Key::first(tree, kind::ROOT_ITEM), Key::last(tree, kind::ROOT_ITEM))?;
    item.map(|item| RootItem::parse(tree, &item.data)).transpose()
}

fn read_subvolumes(pool: &Arc<Pool>, roots: &Tree, notes: &mut Vec<String>) -> GuestResult<Vec<Subvolume>> {
    let top = read_root(roots, object::FS_TREE)?.ok_or_else(|| GuestError::damaged("the root tree", "it has no topmost subvolume"))?;
    let subvolume = |id, root: &RootItem| Subvolume { id, directory: root.directory, tree: Arc::new(Tree::new(pool, root.root)) };
    let mut subvolumes = vec![subvolume(object::FS_TREE, &top)];
    let (from, to) = (Key::first(object::FIRST_FREE, 0), Key::new(object::LAST_FREE, u8::MAX, u64::MAX));
    let mut problems = Problems::default();
    for item in roots.range(from, to) {
        let added = item.and_then(|item| {
            if item.key.kind != kind::ROOT_ITEM {
                return Ok(());
            }
            let root = RootItem::parse(item.key.objectid, &item.data)?;
            if root.references == 0 {
                return Ok(());
            }
            // A snapshot's item may have been written anew under a later number.
            if subvolumes.last().is_some_and(|last| last.id == item.key.objectid) {
                subvolumes.pop();
            }
            subvolumes.push(subvolume(item.key.objectid, &root));
            Ok(())
        });
        if subvolumes.len() > MOST_SUBVOLUMES {
            return Err(GuestError::limit("the root tree", format!("more than {MOST_SUBVOLUMES} subvolumes")));
        }
        if let Err(error) = added {
            problems.add(error);
        }
        if problems.are_many() {
            break;
        }
    }
    if let Some(problem) = problems.first {
        notes.push(format!("not all subvolumes are known, so some seem to be empty: {problem}"));
    }
    Ok(subvolumes)
}

/// The number of the subvolume that is mounted if none is named.
fn default_subvolume(roots: &Tree) -> GuestResult<Option<u64>> {
    let name = b"default";
    let item = roots.get(Key::new(object::ROOT_TREE_DIR, kind::DIR_ITEM, name_hash(name)))?;
    Ok(item.and_then(|item| named(&item).find(|entry| entry.name == name).map(|entry| entry.target.objectid)))
}

impl Volume {
    /// Opens what lies on `devices`.
    pub(super) fn open(devices: &[Device], options: &OpenOptions) -> GuestResult<Self> {
        let Found { superblock, disks, mut notes } = find_devices(devices)?;
        superblock.check_features()?;
        let present = disks.keys().copied().collect();
        let mut pool = Arc::new(Pool::new(&superblock, disks, options.cache_bytes / 2)?);
        let chunks = read_chunks(&pool, &superblock, &present, &mut notes)?;
        if let Some(pool) = Arc::get_mut(&mut pool) {
            pool.set_chunks(chunks);
        }
        let roots = Tree::new(&pool, superblock.root_tree);
        let mut subvolumes = read_subvolumes(&pool, &roots, &mut notes)?;
        let mut logged = BTreeMap::new();
        match superblock.log_tree {
            Some(_) if !options.replay => {
                notes.push("what was synced after the last commit is in the log tree and is not shown".to_owned());
            }
            Some(log) => match replay::replay(&pool, log, &subvolumes) {
                Ok(replayed) => {
                    for (at, overlay) in replayed.overlays {
                        if let Some(subvolume) = subvolumes.get_mut(at) {
                            let mut tree = Tree::clone(&subvolume.tree);
                            tree.overlay = overlay;
                            subvolume.tree = Arc::new(tree);
                        }
                    }
                    logged = replayed.checksums;
                    notes.push("the log tree was replayed in memory".to_owned());
                }
                Err(error) => notes.push(format!("the log tree cannot be replayed, so the last commit is shown: {error}")),
            },
            None => {}
        }
        match default_subvolume(&roots) {
            Ok(Some(id)) if id != object::FS_TREE => notes.push(format!("the default subvolume is {}", path_of(&roots, &subvolumes, id))),
            _ => {}
        }
        let checksums = read_root(&roots, object::CSUM_TREE).ok().flatten().map(|root| Tree::new(&pool, root.root));
        let data = Arc::new(Data::new(&pool, checksums, logged, options.cache_bytes / 2));
        let about = About {
            block_bytes: superblock.sector_bytes,
            size_bytes: superblock.total_bytes,
            used_bytes: Some(superblock.used_bytes),
            notes,
        };
        Ok(Self { about, data, roots, subvolumes })
    }

    /// The place of a subvolume in the list.
    pub(super) fn subvolume(&self, id: u64) -> Option<usize> {
        self.subvolumes.binary_search_by_key(&id, |subvolume| subvolume.id).ok()
    }
}

/// How a person finds a subvolume: its number, and its path from the topmost directory if that can be told.
fn path_of(roots: &Tree, subvolumes: &[Subvolume], id: u64) -> String {
    let mut names: Vec<String> = Vec::new();
    let mut at = id;
    for _ in 0..64 {
        if at == object::FS_TREE {
            names.reverse();
            return format!("{id}, at /{}", names.join("/"));
        }
        let Some((parent, name)) = super::directory::place_of(roots, subvolumes, at) else { break };
        names.push(name);
        at = parent;
    }
    id.to_string()
}
