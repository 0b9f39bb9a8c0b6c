//! Directories: entries of 32 bytes, each with its own copy of all that is known of a file.

use std::ops::ControlFlow;

use super::super::chain::Chain;
use super::super::civil::dos_time;
use super::super::fields::{byte, le16, le32};
use super::super::pages::Pages;
use super::names::{self, LongName, SLOT_BYTES};
use super::table::Width;
use crate::guestfs::{Attributes, FileKind, GuestError, GuestResult};

pub(super) const READ_ONLY: u8 = 0x01;
const LABEL: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// The attributes of a part of a long name; the upper two bits do not count.
const LONG: u8 = 0x0f;

/// Bytes of a directory that are read at once.
const STEP_BYTES: u64 = 64 << 10;

/// The most bytes of a directory: a million entries with names of several parts.
pub(super) const MOST_BYTES: u64 = 256 << 20;

/// The entry of a file or directory.
#[derive(Clone, Debug)]
pub(super) struct Record {
    slot: [u8; SLOT_BYTES],
    /// The number of the first cluster; 0: none.
    pub(super) first: u32,
}

impl Record {
    /// From its bytes; `None` where nothing, a label, a part of a name or a way back is there.
    pub(super) fn parse(slot: [u8; SLOT_BYTES], width: Width) -> Option<Self> {
        let attributes = byte(&slot, 11);
        if matches!(byte(&slot, 0), 0 | 0xe5)
            || attributes & LABEL != 0
            || slot.starts_with(b".          ")
            || slot.starts_with(b"..         ")
        {
            return None;
        }
        // In FAT12 and FAT16 OS/2 kept something else where FAT32 has the upper half.
        let upper = if width == Width::Bits32 { u32::from(le16(&slot, 20)) << 16 } else { 0 };
        Some(Self { first: (upper | u32::from(le16(&slot, 26))) & 0x0fff_ffff, slot })
    }

    /// Read-only, hidden, system, directory and archive, with the numbers of DOS and of Linux' ioctl.
    pub(super) fn flags(&self) -> u8 {
        byte(&self.slot, 11)
    }

    /// File or directory.
    pub(super) fn kind(&self) -> FileKind {
        if self.flags() & DIRECTORY != 0 { FileKind::Directory } else { FileKind::Regular }
    }

    /// Bytes of a file; directories have 0 here.
    pub(super) fn size_bytes(&self) -> u64 {
        u64::from(le32(&self.slot, 28))
    }

    /// All that the entry says. Times are those of the machine's clock on the wall; without a zone they are taken as UTC. The time of
    /// the last reading is a day.
    pub(super) fn attributes(&self, size_bytes: u64, allocated_bytes: u64) -> Attributes {
        let time = |date: u16, time: u16, hundredths: u8| (date != 0).then(|| dos_time(date, time, hundredths));
        let kind = self.kind();
        let mode = match kind {
            FileKind::Directory => 0o755,
            _ if self.flags() & READ_ONLY != 0 => 0o444,
            _ => 0o644,
        };
        Attributes {
            kind,
            size_bytes,
            allocated_bytes,
            mode,
            uid: 0,
            gid: 0,
            links: 1,
            device: None,
            modified: dos_time(le16(&self.slot, 24), le16(&self.slot, 22), 0),
            changed: None,
            accessed: time(le16(&self.slot, 18), 0, 0),
            created: time(le16(&self.slot, 16), le16(&self.slot, 14), byte(&self.slot, 13)),
        }
    }
}

/// One name.
pub(super) struct Found {
    /// Where on the device its entry lies.
    pub(super) place: u64,
    /// The long name, or the short one where there is none.
    pub(super) name: Vec<u8>,
    /// The short name.
    pub(super) short: Vec<u8>,
    pub(super) record: Record,
}

/// Calls `visit` with the place and bytes of each slot that was ever used.
///
/// # Errors
/// Damage of the chain, after all slots before it; the device's.
pub(super) fn slots(
    pages: &Pages,
    chain: &Chain,
    object: &str,
    visit: &mut dyn FnMut(u64, [u8; SLOT_BYTES]) -> ControlFlow<()>,
) -> GuestResult<()> {
    let mut step = Vec::new();
    for extent in &chain.extents {
        let mut done = 0;
        while done < extent.length_bytes {
            let length = (extent.length_bytes - done).min(STEP_BYTES);
            let start = extent.device_bytes.saturating_add(done);
            step.resize(usize::try_from(length).unwrap_or(0), 0);
            pages.read(start, &mut step)?;
            let (slots, _) = step.as_chunks::<SLOT_BYTES>();
            for (place, slot) in (start..).step_by(SLOT_BYTES).zip(slots) {
                // Nothing behind an entry that was never used has ever been used.
                if byte(slot, 0) == 0 || visit(place, *slot).is_break() {
                    return Ok(());
                }
            }
            done += length;
        }
    }
    match &chain.broken {
        Some(problem) => Err(GuestError::damaged(object, problem)),
        None if chain.length_bytes >= MOST_BYTES => Err(GuestError::limit(object, format!("a directory of more than {MOST_BYTES} bytes"))),
        None => Ok(()),
    }
}

/// Calls `visit` with each name of a directory.
///
/// # Errors
/// As [`slots`].
pub(super) fn names(
    pages: &Pages,
    chain: &Chain,
    object: &str,
    width: Width,
    visit: &mut dyn FnMut(Found) -> ControlFlow<()>,
) -> GuestResult<()> {
    let mut long = LongName::default();
    slots(pages, chain, object, &mut |place, slot| {
        if byte(&slot, 0) != 0xe5 && byte(&slot, 11) & 0x3f == LONG {
            long.part(&slot);
            return ControlFlow::Continue(());
        }
        let name = long.take(&slot);
        let Some(record) = Record::parse(slot, width) else { return ControlFlow::Continue(()) };
        let short = names::short_name(&slot);
        visit(Found { place, name: name.unwrap_or_else(|| short.clone()), short, record })
    })
}

/// The label among the entries in `bytes` of the topmost directory, which systems show and change (that in the boot sector stays as it
/// was made).
pub(super) fn label(bytes: &[u8]) -> Option<String> {
    let (slots, _) = bytes.as_chunks::<SLOT_BYTES>();
    let used = slots.iter().take_while(|slot| byte(*slot, 0) != 0);
    let is_label =
        |slot: &[u8; SLOT_BYTES]| byte(slot, 0) != 0xe5 && byte(slot, 11) & 0x3f != LONG && byte(slot, 11) & (LABEL | DIRECTORY) == LABEL;
    used.filter(|slot| is_label(slot)).find_map(|slot| names::label(slot))
}
