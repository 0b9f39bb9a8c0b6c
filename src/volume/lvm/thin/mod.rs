//! Thin pools and their volumes: which block of the pool each block of a volume is, by a tree of trees on the pool's metadata volume.
//!
//! Layout: Linux `drivers/md/dm-thin-metadata.c`, `struct thin_disk_superblock`. The outer tree leads from a device's number to the root
//! of its own tree, that from a block of the device to a block of the pool. What is in no tree was never written.

mod node;

use std::io;
use std::sync::Arc;

use self::node::{Found, Tree, checksum};
use crate::volume::bytes::{le32, le64};
use crate::volume::{AnyLayer, Place, Run, Runs, VolumeError, VolumeResult};

const MAGIC: u64 = 27_022_010;
const SUPERBLOCK_XOR: u32 = 160_774;
/// Bytes of a metadata block.
const METADATA_BYTES: usize = 4096;
/// Blocks of data are 64 KiB to 1 GiB.
const MOST_BLOCK_SECTORS: u32 = 1 << 21;

/// A thin pool.
pub(super) struct Pool {
    tree: Tree,
    root: u64,
    block_bytes: u64,
    data: AnyLayer,
    /// What a person should know of it, each a sentence without a full stop.
    pub(super) notes: Vec<String>,
}

impl Pool {
    /// The pool `title` on its two volumes.
    ///
    /// # Errors
    /// Damage of its superblock; features that are not known; the disk's.
    pub(super) fn open(title: &str, metadata: AnyLayer, data: AnyLayer) -> VolumeResult<Self> {
        let damaged = |problem: String| VolumeError::damaged(format!("the metadata of {title}"), problem);
        let mut raw = [0_u8; METADATA_BYTES];
        metadata.read_at(0, &mut raw)?;
        let field32 = |at: usize| le32(&raw, at).unwrap_or(0);
        let field64 = |at: usize| le64(&raw, at).unwrap_or(0);
        if field64(32) != MAGIC {
            return Err(damaged("its superblock has no magic number".to_owned()));
        }
        let expected = checksum(&raw, SUPERBLOCK_XOR);
        if field32(0) != expected {
            return Err(damaged(format!("its superblock has checksum {:08x}, expected {expected:08x}", field32(0))));
        }
        let (version, incompatible) = (field32(40), field32(360));
        if !(1..=2).contains(&version) || incompatible != 0 {
            return Err(VolumeError::unsupported(format!("{title}, whose metadata has version {version} and features {incompatible:#x},")));
        }
        let (block_sectors, metadata_sectors) = (field32(336), field32(340));
        if !(1..=MOST_BLOCK_SECTORS).contains(&block_sectors) || metadata_sectors != 8 {
            return Err(damaged(format!("its blocks have {block_sectors} and {metadata_sectors} sectors")));
        }
        let mut notes = Vec::new();
        if field32(4) & 1 != 0 {
            notes.push("its thin pool is marked as needing a check".to_owned());
        }
        let tree = Tree::new(format!("the metadata of {title}"), metadata);
        Ok(Self { tree, root: field64(320), block_bytes: u64::from(block_sectors).saturating_mul(512), data, notes })
    }
}

/// A volume of a pool.
pub(super) struct Thin {
    pool: Arc<Pool>,
    root: u64,
    size_bytes: u64,
    /// What shows through where the volume has no block of its own.
    below: Option<AnyLayer>,
}

impl Thin {
    /// The volume of number `device`.
    ///
    /// # Errors
    /// Damage, also where the pool does not have the device; the disk's.
    pub(super) fn open(title: &str, pool: &Arc<Pool>, device: u64, size_bytes: u64, below: Option<AnyLayer>) -> VolumeResult<Self> {
        match pool.tree.find(pool.root, device)? {
            Found::Value { value: root, .. } => Ok(Self { pool: Arc::clone(pool), root, size_bytes, below }),
            Found::Gap { .. } => Err(VolumeError::damaged(title, format!("its pool has no device {device}"))),
        }
    }

    fn unwritten(&self, offset_bytes: u64, length_bytes: u64) -> Run<'_> {
        let Some(below) = &self.below else { return Run { length_bytes, place: Place::Zeros } };
        match below.size_bytes().saturating_sub(offset_bytes) {
            0 => Run { length_bytes, place: Place::Zeros },
            there => Run { length_bytes: length_bytes.min(there), place: Place::On(below, offset_bytes) },
        }
    }
}

impl Runs for Thin {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn run_at(&self, offset_bytes: u64) -> io::Result<Run<'_>> {
        let left = self.size_bytes.checked_sub(offset_bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
        let block_bytes = self.pool.block_bytes;
        let block = offset_bytes.checked_div(block_bytes).unwrap_or(0);
        let within = offset_bytes.checked_rem(block_bytes).unwrap_or(0);
        let bytes = |blocks: u64| blocks.saturating_mul(block_bytes).saturating_sub(within).min(left);
        Ok(match self.pool.tree.find(self.root, block).map_err(into_io)? {
            Found::Gap { keys } => self.unwritten(offset_bytes, bytes(keys)),
            Found::Value { value, keys } => {
                // Above the 24 bits of the time at which it was mapped is the block.
                let at = (value >> 24).checked_mul(block_bytes).and_then(|at| at.checked_add(within));
                let inside = at.filter(|at| self.pool.data.size_bytes().saturating_sub(*at) >= bytes(keys));
                let place = inside.map_or(Place::Lost("its block lies past the end of the pool"), |at| Place::On(&self.pool.data, at));
                Run { length_bytes: bytes(keys), place }
            }
        })
    }
}

fn into_io(error: VolumeError) -> io::Error {
    match error {
        VolumeError::Disk(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
