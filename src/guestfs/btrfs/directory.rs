//! Directories: names, and where subvolumes hang in them.

use std::ops::ControlFlow;

use super::super::fields::{le16, le64};
use super::super::{Entry, FileKind, GuestError, GuestResult, Node};
use super::items::{Named, Reference, extended_references, named, references};
use super::layout::{Key, kind, name_hash, object};
use super::tree::Tree;
use super::volume::{Problems, Subvolume, Volume};

/// Bits of a node's number that are the inode's; the others are the place of its subvolume in the list.
const INODE_BITS: u32 = 44;

/// The node of an inode of a subvolume.
pub(super) fn node(subvolume: usize, inode: u64) -> GuestResult<Node> {
    let upper = u64::try_from(subvolume).unwrap_or(u64::MAX);
    if inode >> INODE_BITS != 0 || upper >> (u64::BITS - INODE_BITS) != 0 {
        return Err(GuestError::limit(format!("inode {inode}"), "its number is larger than those of any filesystem in use"));
    }
    Ok(Node(upper << INODE_BITS | inode))
}

/// The place of a node's subvolume in the list, and its inode.
pub(super) fn parts(node: Node) -> (usize, u64) {
    let inode = node.0 & ((1 << INODE_BITS) - 1);
    (usize::try_from(node.0 >> INODE_BITS).unwrap_or(usize::MAX), inode)
}

/// Where a subvolume hangs: directory and name there.
fn place(roots: &Tree, parent: u64, child: u64) -> GuestResult<Option<(u64, Vec<u8>)>> {
    let Some(item) = roots.get(Key::new(parent, kind::ROOT_REF, child))? else { return Ok(None) };
    let name = item.get(18..).and_then(|rest| rest.get(..usize::from(le16(&item, 16)))).unwrap_or_default();
    Ok(Some((le64(&item, 0), name.to_vec())))
}

/// The subvolume in which a subvolume hangs, and the path from that one's topmost directory.
pub(super) fn place_of(roots: &Tree, subvolumes: &[Subvolume], child: u64) -> Option<(u64, String)> {
    let back = Key::new(child, kind::ROOT_BACKREF, 0);
    let item = roots.range(back, Key::last(child, kind::ROOT_BACKREF)).next()?.ok()?;
    let parent = item.key.offset;
    let (mut inode, name) = place(roots, parent, child).ok()??;
    let mut names = vec![String::from_utf8_lossy(&name).into_owned()];
    let at = subvolumes.binary_search_by_key(&parent, |subvolume| subvolume.id).ok()?;
    let Subvolume { tree, directory, .. } = subvolumes.get(at)?;
    for _ in 0..64 {
        if inode == *directory {
            names.reverse();
            return Some((parent, names.join("/")));
        }
        let item = tree.range(Key::first(inode, kind::INODE_REF), Key::last(inode, kind::INODE_REF)).next()?.ok()?;
        let Reference { name, .. } = references(item.key.offset, &item.data).next()?;
        names.push(String::from_utf8_lossy(name).into_owned());
        inode = item.key.offset;
    }
    None
}

impl Volume {
    /// What a name leads to.
    fn target(&self, subvolume: usize, directory: u64, entry: &Named<'_>) -> GuestResult<(Node, Option<FileKind>)> {
        let Key { objectid, kind, .. } = entry.target;
        if kind == kind::INODE_ITEM {
            return Ok((node(subvolume, objectid)?, entry.file_kind()));
        }
        if kind != kind::ROOT_ITEM {
            return Err(GuestError::damaged(format!("directory {directory}"), format!("a name leads to an item of kind {kind}")));
        }
        // In a snapshot the subvolumes of the original are empty directories: they hang only there.
        let parent = self.subvolumes.get(subvolume).map_or(0, |parent| parent.id);
        let hangs_here = place(&self.roots, parent, objectid)?.is_some_and(|(inode, name)| inode == directory && name == entry.name);
        let child = self.subvolume(objectid).filter(|_| hangs_here);
        let root = child.and_then(|at| Some((at, self.subvolumes.get(at)?.directory)));
        let (at, inode) = root.unwrap_or((subvolume, object::EMPTY_SUBVOLUME));
        Ok((node(at, inode)?, Some(FileKind::Directory)))
    }

    /// Calls `visit` with each name in a directory, in the order in which the kernel lists them.
    pub(super) fn each_entry(
        &self,
        (subvolume, directory): (usize, u64),
        tree: &Tree,
        visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> GuestResult<()> {
        let mut problems = Problems::default();
        for item in tree.range(Key::first(directory, kind::DIR_INDEX), Key::last(directory, kind::DIR_INDEX)) {
            if problems.are_many() {
                break;
            }
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    problems.add(error);
                    continue;
                }
            };
            for entry in named(&item.data) {
                match self.target(subvolume, directory, &entry) {
                    Ok((node, kind)) if visit(Entry { name: entry.name.to_vec(), node, kind }).is_break() => return Ok(()),
                    Ok(_) => {}
                    Err(error) => problems.add(error),
                }
            }
        }
        problems.first.map_or(Ok(()), Err)
    }

    /// What a name in a directory leads to.
    pub(super) fn find(&self, (subvolume, directory): (usize, u64), tree: &Tree, name: &[u8]) -> GuestResult<Option<Node>> {
        let item = tree.get(Key::new(directory, kind::DIR_ITEM, name_hash(name)))?;
        let Some(item) = item else { return Ok(None) };
        let entry = named(&item).find(|entry| entry.name == name);
        entry.map(|entry| self.target(subvolume, directory, &entry).map(|(node, _)| node)).transpose()
    }
}

/// All references of an inode to its names.
pub(super) fn each_reference(tree: &Tree, inode: u64, mut visit: impl FnMut(&Reference<'_>)) -> GuestResult<()> {
    for item in tree.range(Key::first(inode, kind::INODE_REF), Key::last(inode, kind::INODE_EXTREF)) {
        let item = item?;
        match item.key.kind {
            kind::INODE_REF => references(item.key.offset, &item.data).for_each(|reference| visit(&reference)),
            _ => extended_references(&item.data).for_each(|reference| visit(&reference)),
        }
    }
    Ok(())
}
