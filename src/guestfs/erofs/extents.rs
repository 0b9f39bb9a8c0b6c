//! Lists of extents of compressed files with 48-bit addresses: records of 4 to 32 bytes.

use super::core::Core;
use super::index::{Coding, Extent, Index};
use super::inode::Inode;
use crate::guestfs::fields::{byte, le16, le32, le64};
use crate::guestfs::mapped::MOST_EXTENTS;
use crate::guestfs::{GuestError, GuestResult};

/// Of the length: only the beginning of what the extent holds belongs to the file.
const PARTIAL: u32 = 1 << 27;
/// Where in the length the algorithm's number is, 0 for none.
const ALGORITHM_SHIFT: u32 = 28;
/// The bits that are the length.
const LENGTH: u32 = (2 << 20) - 1;
const INTERLACED: u16 = 0x10;
const FRAGMENT: u16 = 0x20;
/// Bytes of the list that are read at once; a multiple of all records.
const PIECE_BYTES: u64 = 16 << 10;

/// A record as it is.
struct Record {
    start: u64,
    at: u64,
    length: u32,
}

/// Reads the list behind the header of a compressed file.
///
/// # Errors
/// Damage; algorithms that are not known.
pub(super) fn read(core: &Core, inode: &Inode, header: &[u8; 8]) -> GuestResult<Index> {
    let advice = le16(header, 4);
    let record_bytes = 4_u64 << (advice >> 1 & 3);
    let cluster_bits = core.image.superblock.block_bits.saturating_add(u32::from(byte(header, 7) & 15));
    let cluster_bytes = 1_u64.checked_shl(cluster_bits).unwrap_or(u64::MAX);
    let count = if record_bytes <= 8 {
        inode.size_bytes.div_ceil(cluster_bytes)
    } else {
        u64::from(le32(header, 0)) | u64::from(le16(header, 6)) << 32
    };
    if count > MOST_EXTENTS as u64 {
        return Err(GuestError::limit(format!("inode {}", inode.node.0), format!("{count} extents, more than {MOST_EXTENTS}")));
    }
    let headed = inode.body(8).behind(8);
    let mut place = super::core::Place { at: headed.at.checked_next_multiple_of(record_bytes).unwrap_or(u64::MAX), ..headed };
    let mut next = 0;
    if record_bytes == 4 {
        let mut first = [0; 8];
        core.read(place, &mut first)?;
        next = le64(&first, 0);
        place = place.behind(8);
    }
    let mut records = Vec::new();
    let mut done = 0;
    while done < count {
        let piece = count.saturating_sub(done).min(PIECE_BYTES / record_bytes);
        let mut bytes = vec![0; usize::try_from(piece * record_bytes).unwrap_or(0)];
        core.read(place.behind(done.saturating_mul(record_bytes)), &mut bytes)?;
        for raw in bytes.chunks_exact(usize::try_from(record_bytes).unwrap_or(32)) {
            let length = le32(raw, 0);
            let record = match record_bytes {
                4 => Record { start: done.saturating_mul(cluster_bytes), at: next, length },
                8 => Record { start: done.saturating_mul(cluster_bytes), at: u64::from(le32(raw, 4)), length },
                16 => Record { start: u64::from(le32(raw, 12)), at: le64(raw, 4), length },
                _ => Record { start: le64(raw, 12), at: le64(raw, 4), length },
            };
            next = next.saturating_add(u64::from(length & LENGTH));
            records.push(record);
            done = done.saturating_add(1);
        }
    }
    build(core, inode, advice, record_bytes, &records)
}

fn build(core: &Core, inode: &Inode, advice: u16, record_bytes: u64, records: &[Record]) -> GuestResult<Index> {
    let mut index = Index { extents: Vec::with_capacity(records.len()), inline: Vec::new(), fragment: None };
    for (number, record) in records.iter().enumerate() {
        let in_order = index.extents.last().map_or(record.start == 0, |last: &Extent| last.start < record.start);
        if !in_order {
            return Err(inode.problem(format!("extent {number} of its list begins at byte {}, out of order", record.start)));
        }
        if record.start >= inode.size_bytes {
            break;
        }
        let coding = if number + 1 == records.len() && advice & FRAGMENT != 0 {
            let high = if record_bytes > 4 { record.at << 32 } else { 0 };
            index.fragment = Some(u64::from(record.length) | high);
            Coding::Fragment
        } else {
            coding(core, advice, record)?
        };
        index.extents.push(Extent {
            start: record.start,
            at: record.at,
            packed_bytes: record.length & LENGTH,
            coding,
            inline: false,
            partial: record.length & PARTIAL != 0,
        });
    }
    if index.extents.is_empty() && inode.size_bytes > 0 {
        return Err(inode.problem("no extent begins at its first byte".to_owned()));
    }
    Ok(index)
}

fn coding(core: &Core, advice: u16, record: &Record) -> GuestResult<Coding> {
    if record.length & LENGTH == 0 {
        return Ok(Coding::Hole);
    }
    Ok(match record.length >> ALGORITHM_SHIFT {
        0 if advice & INTERLACED != 0 && record.at.is_multiple_of(core.image.superblock.block_bytes()) => Coding::Interlaced,
        0 => Coding::Shifted,
        number => super::index::coding(u8::try_from(number - 1).unwrap_or(u8::MAX))?,
    })
}
