//! Directories: blocks with a sorted list of entries and their names behind it; the blocks are sorted, too.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use super::core::{Core, Use};
use super::inode::Inode;
use crate::guestfs::fields::{byte, le16, le64};
use crate::guestfs::{Entry, FileData, FileKind, GuestError, GuestResult, Node};

/// Bytes of an entry without its name.
const ENTRY_BYTES: usize = 12;
/// The longest directory that is read: some millions of names.
const MOST_BYTES: u64 = 1 << 30;
/// So many bad blocks, and the rest is not looked at.
const MOST_BAD_BLOCKS: u32 = 16;

/// A directory that is read.
pub(super) struct Directory {
    data: std::sync::Arc<dyn FileData>,
    node: Node,
    size_bytes: u64,
    block_bytes: u64,
}

/// One of its blocks.
struct Block {
    bytes: Vec<u8>,
    count: usize,
}

fn kind(number: u8) -> Option<FileKind> {
    Some(match number {
        1 => FileKind::Regular,
        2 => FileKind::Directory,
        3 => FileKind::CharacterDevice,
        4 => FileKind::BlockDevice,
        5 => FileKind::Pipe,
        6 => FileKind::Socket,
        7 => FileKind::Link,
        _ => return None,
    })
}

impl Block {
    /// The name of an entry: up to the next one's, the last one's up to the end or a zero.
    fn name(&self, index: usize) -> Option<&[u8]> {
        let start = |index: usize| usize::from(le16(&self.bytes, index * ENTRY_BYTES + 8));
        let last = index + 1 == self.count;
        let end = if last { self.bytes.len() } else { start(index + 1) };
        let name = self.bytes.get(start(index)..end)?;
        let name = if last { name.split(|&byte| byte == 0).next()? } else { name };
        (1..=255).contains(&name.len()).then_some(name)
    }

    fn node(&self, index: usize) -> Node {
        Node(le64(&self.bytes, index * ENTRY_BYTES))
    }

    fn kind(&self, index: usize) -> Option<FileKind> {
        kind(byte(&self.bytes, index * ENTRY_BYTES + 10))
    }
}

impl Directory {
    /// Opens the directory of an inode.
    ///
    /// # Errors
    /// Where it is none; damage.
    pub(super) fn open(core: &Core, inode: &Inode) -> GuestResult<Self> {
        if inode.kind != FileKind::Directory {
            return Err(GuestError::WrongKind { object: format!("inode {}", inode.node.0), expected: "directory" });
        }
        if inode.size_bytes > MOST_BYTES {
            let limit = format!("{} bytes, more than {MOST_BYTES}", inode.size_bytes);
            return Err(GuestError::limit(format!("the directory of inode {}", inode.node.0), limit));
        }
        let data = core.data(inode, Use::Metadata)?;
        Ok(Self { data, node: inode.node, size_bytes: inode.size_bytes, block_bytes: core.image.superblock.block_bytes() })
    }

    fn blocks(&self) -> u64 {
        self.size_bytes.div_ceil(self.block_bytes)
    }

    fn damaged(&self, block: u64, problem: &str) -> GuestError {
        GuestError::damaged(format!("block {block} of the directory of inode {}", self.node.0), problem)
    }

    fn block(&self, number: u64) -> GuestResult<Block> {
        let start = number.saturating_mul(self.block_bytes);
        let length = self.size_bytes.saturating_sub(start).min(self.block_bytes);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.data.read_at(start, &mut bytes)?;
        let names = usize::from(le16(&bytes, 8));
        if names == 0 || !names.is_multiple_of(ENTRY_BYTES) || names > bytes.len() {
            return Err(self.damaged(number, "its names begin where no entry ends"));
        }
        Ok(Block { count: names / ENTRY_BYTES, bytes })
    }

    /// Calls `visit` with each entry but `.` and `..`.
    ///
    /// # Errors
    /// Damage, after all that can be read.
    pub(super) fn visit(&self, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        let (mut problem, mut bad) = (None, 0);
        for number in 0..self.blocks() {
            let block = match self.block(number) {
                Ok(block) => block,
                Err(error) => {
                    problem.get_or_insert(error);
                    bad += 1;
                    if bad == MOST_BAD_BLOCKS {
                        break;
                    }
                    continue;
                }
            };
            for index in 0..block.count {
                match block.name(index) {
                    None => {
                        problem.get_or_insert_with(|| self.damaged(number, "an entry without a name"));
                    }
                    Some(b"." | b"..") => {}
                    Some(name) => {
                        let entry = Entry { name: name.to_vec(), node: block.node(index), kind: block.kind(index) };
                        if visit(entry).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
        }
        problem.map_or(Ok(()), Err)
    }

    /// The node of a name, by halving: first the blocks, then the entries of one.
    ///
    /// # Errors
    /// Damage on the way.
    pub(super) fn lookup(&self, name: &[u8]) -> GuestResult<Option<Node>> {
        let (mut low, mut high) = (0, self.blocks());
        let mut found: Option<Block> = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let block = self.block(middle)?;
            let first = block.name(0).ok_or_else(|| self.damaged(middle, "an entry without a name"))?;
            if first <= name {
                low = middle + 1;
                found = Some(block);
            } else {
                high = middle;
            }
        }
        let Some(block) = found else { return Ok(None) };
        let (mut low, mut high) = (0, block.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let other = block.name(middle).ok_or_else(|| self.damaged(0, "an entry without a name"))?;
            match other.cmp(name) {
                Ordering::Equal => return Ok(Some(block.node(middle))),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }
}
