//! The log of XFS: what it holds is laid over the device in memory, as the kernel's recovery would write it to the disk.
//!
//! `record` reads records and checks them, `head` finds the first and the last that count, `transactions` puts together what they carry,
//! `apply`, `inodes` and `intents` take it over. Layout: `fs/xfs/libxfs/xfs_log_format.h` of Linux; what recovery does with it:
//! `fs/xfs/xfs_log_recover.c` and `xfs_buf_item_recover.c`, `xfs_inode_item_recover.c`, `xfs_icreate_item.c` beside it.

mod apply;
mod head;
mod inodes;
mod intents;
mod overlay;
mod record;
mod transactions;

pub(super) use head::{Range, State};
pub(super) use intents::{AttributeChange, Exchange, Intent, Remap};
pub(super) use overlay::Overlay;
#[cfg(test)]
pub(super) use record::record_checksum;

use self::apply::{Apply, Cancelled};
use self::record::Broken;
use self::transactions::Transactions;
use super::volume::Volume;
use crate::guestfs::{Device, GuestError, GuestResult};

/// Bytes of the unit in which the log counts (`BBSIZE`).
const UNIT: usize = 512;
/// Records that may have been on their way to the disk at once, each of at most 256 KiB.
const IN_FLIGHT: u32 = 8;
const MOST_RECORD_BYTES: u32 = 256 << 10;

/// Where the log lies.
pub(super) struct Log {
    /// For whole records.
    device: Device,
    /// For looking at single units, of which those read together are kept.
    cached: Device,
    start_bytes: u64,
    /// Units.
    units: u32,
    uuid: [u8; 16],
}

/// What a log holds that the filesystem does not have yet.
pub(super) struct Replayed {
    pub(super) overlay: Overlay,
    /// Operations that were begun, in the order in which they were.
    pub(super) unfinished: Vec<Intent>,
}

fn damaged(problem: impl Into<String>) -> GuestError {
    GuestError::damaged("the log", problem)
}

impl Log {
    /// The log inside a filesystem.
    pub(super) fn open(volume: &Volume) -> GuestResult<Self> {
        let superblock = &volume.superblock;
        let start = superblock.place_of_blocks(superblock.log_start, u64::from(superblock.log_blocks));
        let start_bytes = start.ok_or_else(|| damaged(format!("its {} blocks leave the filesystem", superblock.log_blocks)))?;
        let units = u64::from(superblock.log_blocks) * u64::from(superblock.block_bytes) / UNIT as u64;
        let units = u32::try_from(units).ok().filter(|&units| units > 1).ok_or_else(|| damaged(format!("it has {units} sectors")))?;
        let (device, cached) = (volume.device().clone(), volume.metadata().clone());
        Ok(Self { device, cached, start_bytes, units, uuid: superblock.uuid })
    }

    /// Lays all between tail and head over the filesystem. Two passes: buffers that were given up later must not be taken from before.
    pub(super) fn replay(&self, volume: &Volume, mut range: Range) -> GuestResult<Replayed> {
        let cancelled = loop {
            let mut cancelled = Cancelled::default();
            let mut transactions = Transactions::default();
            let broken = self.walk(range, &mut |record| transactions.add(record, &mut |done| cancelled.note(&done)))?;
            match broken {
                None => break cancelled,
                Some(broken) => range = self.after_broken_tail(range, &broken)?,
            }
        };
        let mut apply = Apply::new(volume, cancelled);
        let mut transactions = Transactions::default();
        match self.walk(range, &mut |record| transactions.add(record, &mut |done| apply.transaction(done)))? {
            None => Ok(apply.finish()),
            Some(broken) => Err(broken.into()),
        }
    }

    /// The range without a first record that newer ones were about to take the place of.
    fn after_broken_tail(&self, range: Range, broken: &Broken) -> GuestResult<Range> {
        let free = self.units - self.distance(range.tail, range.head);
        let reach = IN_FLIGHT * MOST_RECORD_BYTES / UNIT as u32;
        let gone = self.distance(range.tail, broken.unit).saturating_add(free);
        let next = if gone > reach { None } else { self.next_header(broken.unit, range.head)? };
        next.map(|tail| Range { tail, ..range }).ok_or_else(|| broken.clone().into())
    }
}
