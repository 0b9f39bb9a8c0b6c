//! What records carry, put together: operations, of which each is a piece of a transaction, become transactions of items, and items are
//! regions of bytes. Pieces of several transactions may lie between each other.

use std::collections::HashMap;

use super::damaged;
use super::record::Record;
use crate::guestfs::fields::{be32, byte, le16};
use crate::guestfs::{GuestError, GuestResult};

const OPERATION_BYTES: usize = 12;
/// Bytes of the head of a transaction, which comes before its items, whole or in pieces.
const HEAD_BYTES: usize = 16;
const HEAD_MAGIC: &[u8] = b"NART";
/// The longest list of regions of one item: more than the kernel's `XLOG_MAX_REGIONS_IN_ITEM` for buffers of 64 KiB.
const MOST_REGIONS: usize = (64 << 10) / 128 / 2 + 1;
/// Bytes of transactions that have begun and not ended. The kernel keeps them all in memory too; one takes a few megabytes.
const MOST_OPEN_BYTES: usize = 256 << 20;

const START: u8 = 0x01;
const COMMIT: u8 = 0x02;
const CONTINUES: u8 = 0x04;
const CONTINUED: u8 = 0x08;
const END: u8 = 0x10;
const UNMOUNT: u8 = 0x20;

/// What a transaction changes in one object.
#[derive(Debug, Default)]
pub(super) struct Item {
    total: usize,
    regions: Vec<Vec<u8>>,
}

impl Item {
    /// A region; nothing where there is none of that number.
    pub(super) fn region(&self, at: usize) -> &[u8] {
        self.regions.get(at).map(Vec::as_slice).unwrap_or_default()
    }

    /// What it is: the number that its first region begins with.
    pub(super) fn kind(&self) -> u16 {
        le16(self.region(0), 0)
    }

    /// How many regions it has.
    pub(super) fn regions(&self) -> usize {
        self.regions.len()
    }
}

/// A transaction that was committed.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// Of the record in which it began.
    pub(super) lsn: u64,
    pub(super) items: Vec<Item>,
    head: Vec<u8>,
    bytes: usize,
}

/// Those that have begun.
#[derive(Default)]
pub(super) struct Transactions {
    open: HashMap<u32, Transaction>,
    bytes: usize,
}

impl Transactions {
    /// Takes in a record, and hands over each transaction that it commits.
    pub(super) fn add(&mut self, record: &Record, commit: &mut dyn FnMut(Transaction) -> GuestResult<()>) -> GuestResult<()> {
        let mut rest = record.data.as_slice();
        for _ in 0..record.head.operations {
            if rest.is_empty() {
                break;
            }
            let length = be32(rest, 4) as usize;
            let (id, flags) = (be32(rest, 0), byte(rest, 9));
            let end = OPERATION_BYTES.checked_add(length);
            let Some((operation, after)) = end.and_then(|end| rest.split_at_checked(end)) else {
                return Err(damaged(format!("an operation of {length} bytes leaves its record {:x}", record.head.lsn)));
            };
            rest = after;
            self.operation(id, flags, operation.get(OPERATION_BYTES..).unwrap_or_default(), record.head.lsn, commit)?;
        }
        Ok(())
    }

    fn operation(
        &mut self,
        id: u32,
        flags: u8,
        bytes: &[u8],
        lsn: u64,
        commit: &mut dyn FnMut(Transaction) -> GuestResult<()>,
    ) -> GuestResult<()> {
        let Some(open) = self.open.get_mut(&id) else {
            if flags & START != 0 {
                self.open.insert(id, Transaction { lsn, ..Transaction::default() });
            }
            // Pieces of one that began before the tail are done with.
            return Ok(());
        };
        let mut flags = flags & !END;
        if flags & CONTINUED != 0 {
            flags &= !CONTINUES;
        }
        let problem = match flags {
            0 | CONTINUES => open.add(bytes),
            CONTINUED => open.go_on(bytes),
            COMMIT | UNMOUNT => {
                let done = self.open.remove(&id).unwrap_or_default();
                self.bytes = self.bytes.saturating_sub(done.bytes);
                return if flags == COMMIT { commit(done) } else { Ok(()) };
            }
            other => Err(format!("an operation has the flags {other:x}")),
        };
        problem.map_err(|problem| damaged(format!("in its record {lsn:x}, {problem}")))?;
        open.bytes = open.bytes.saturating_add(bytes.len());
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > MOST_OPEN_BYTES || self.open.len() > MOST_OPEN_BYTES >> 10 {
            return Err(GuestError::limit("the log", format!("it has more than {MOST_OPEN_BYTES} bytes in transactions without an end")));
        }
        Ok(())
    }
}

impl Transaction {
    /// A region, or the head.
    fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.head.is_empty() && self.items.is_empty() {
            if !bytes.starts_with(HEAD_MAGIC) || bytes.len() > HEAD_BYTES {
                return Err(format!("a transaction begins with {:08x}", be32(bytes, 0)));
            }
            self.head = bytes.to_vec();
            return Ok(());
        }
        match self.items.last_mut() {
            Some(item) if item.regions.len() < item.total => item.regions.push(bytes.to_vec()),
            _ => {
                let total = usize::from(le16(bytes, 2));
                if total == 0 || total > MOST_REGIONS {
                    return Err(format!("an item has {total} regions"));
                }
                self.items.push(Item { total, regions: vec![bytes.to_vec()] });
            }
        }
        Ok(())
    }

    /// The rest of a region, or of the head.
    fn go_on(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self.items.last_mut().and_then(|item| item.regions.last_mut()) {
            Some(region) => region.extend_from_slice(bytes),
            None if self.head.len().saturating_add(bytes.len()) <= HEAD_BYTES => self.head.extend_from_slice(bytes),
            None => return Err(format!("the head of a transaction goes on for {} bytes", bytes.len())),
        }
        Ok(())
    }
}
