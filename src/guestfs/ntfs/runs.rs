//! Runs: where the clusters of an attribute lie, packed as differences. Layout: the Linux-NTFS project's documentation ("Data Runs").

use super::bytes::slice_at;
use super::record::Mapped;
use crate::guestfs::mapped::{FileExtent, MOST_EXTENTS};
use crate::guestfs::{GuestError, GuestResult};

/// Where bytes are looked for that no run places although they should have one: past the end of any device, so that reading them fails
/// and the rest of the file can be read.
const NOWHERE_BYTES: u64 = 1 << 62;

/// Puts the runs of all parts of an attribute together. Parts may come in any order; a cluster that none of them places is an extent
/// that cannot be read.
///
/// # Errors
/// Damage of a list of runs; a limit above [`MOST_EXTENTS`].
pub(super) fn extents(object: &str, mut parts: Vec<Mapped>, cluster_bytes: u32) -> GuestResult<Vec<FileExtent>> {
    parts.sort_by_key(|part| part.first_vcn);
    let allocated = parts.first().map_or(0, |part| part.allocated_bytes);
    let cluster_bytes = u64::from(cluster_bytes);
    let mut all = Vec::new();
    let mut end_vcn = 0;
    for part in &parts {
        if part.first_vcn > end_vcn {
            missing(&mut all, end_vcn, part.first_vcn, cluster_bytes);
        }
        end_vcn = decode(object, part, cluster_bytes, &mut all)?;
    }
    missing(&mut all, end_vcn, allocated.div_ceil(cluster_bytes), cluster_bytes);
    Ok(all)
}

fn missing(all: &mut Vec<FileExtent>, from_vcn: u64, to_vcn: u64, cluster_bytes: u64) {
    let length_bytes = to_vcn.saturating_sub(from_vcn).saturating_mul(cluster_bytes).min(NOWHERE_BYTES);
    all.push(FileExtent { start_bytes: from_vcn.saturating_mul(cluster_bytes), length_bytes, device_bytes: NOWHERE_BYTES });
}

/// Adds the runs of one part to `all`, and gives the cluster after its last one.
fn decode(object: &str, part: &Mapped, cluster_bytes: u64, all: &mut Vec<FileExtent>) -> GuestResult<u64> {
    let wrong = |problem: &str| GuestError::damaged(object, format!("its runs from cluster {} on: {problem}", part.first_vcn));
    let overflow = || wrong("a number is too large");
    let (mut vcn, mut lcn) = (part.first_vcn, 0_i64);
    let mut packed = part.runs.as_slice();
    while let Some((&header, rest)) = packed.split_first().filter(|(header, _)| **header != 0) {
        let (length_bytes, offset_bytes) = (usize::from(header & 0x0F), usize::from(header >> 4));
        let length = slice_at(rest, 0, length_bytes).and_then(signed).ok_or_else(|| wrong("the list is cut off"))?;
        let length = u64::try_from(length).ok().filter(|length| *length > 0).ok_or_else(|| wrong("a run has no length"))?;
        let offset = slice_at(rest, length_bytes, offset_bytes).and_then(signed).ok_or_else(|| wrong("the list is cut off"))?;
        packed = rest.get(length_bytes.saturating_add(offset_bytes)..).unwrap_or_default();
        let next_vcn = vcn.checked_add(length).ok_or_else(overflow)?;
        // A run without a place is a hole.
        if offset_bytes > 0 {
            lcn = lcn.checked_add(offset).ok_or_else(overflow)?;
            let device_cluster = u64::try_from(lcn).map_err(|_| wrong("a run lies before the volume"))?;
            all.push(FileExtent {
                start_bytes: vcn.checked_mul(cluster_bytes).ok_or_else(overflow)?,
                length_bytes: length.checked_mul(cluster_bytes).ok_or_else(overflow)?,
                device_bytes: device_cluster.checked_mul(cluster_bytes).ok_or_else(overflow)?,
            });
            if all.len() > MOST_EXTENTS {
                return Err(GuestError::limit(object, format!("more than {MOST_EXTENTS} runs")));
            }
        }
        vcn = next_vcn;
    }
    // An attribute without clusters has a last one of -1.
    if vcn != part.last_vcn.wrapping_add(1) {
        return Err(wrong(&format!("they end at cluster {vcn} instead of {}", part.last_vcn.wrapping_add(1))));
    }
    Ok(vcn)
}

/// A little-endian number of up to eight bytes with its sign; of none: 0.
fn signed(bytes: &[u8]) -> Option<i64> {
    let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xFF } else { 0 };
    let mut all = [fill; 8];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first_vcn: u64, last_vcn: u64, allocated_bytes: u64, runs: &[u8]) -> Mapped {
        Mapped {
            first_vcn,
            last_vcn,
            allocated_bytes,
            size_bytes: allocated_bytes,
            initialized_bytes: allocated_bytes,
            occupied_bytes: None,
            unit_log: 0,
            runs: runs.to_vec(),
        }
    }

    fn places(parts: Vec<Mapped>) -> GuestResult<Vec<(u64, u64, u64)>> {
        let extents = extents("a file", parts, 1)?;
        Ok(extents.iter().filter(|extent| extent.length_bytes > 0).map(|e| (e.start_bytes, e.length_bytes, e.device_bytes)).collect())
    }

    #[test]
    fn runs_go_forward_and_back_and_leave_holes() {
        let runs = [0x21, 0x18, 0x34, 0x56, 0x01, 0x08, 0x11, 0x10, 0xF0, 0x00];
        let found = places(vec![part(0, 0x2F, 0x30, &runs)]).expect("sound");
        assert_eq!(found, [(0, 0x18, 0x5634), (0x20, 0x10, 0x5624)]);
    }

    #[test]
    fn parts_come_in_any_order_and_what_no_part_places_cannot_be_read() {
        let parts = vec![part(8, 9, 0, &[0x11, 2, 7]), part(0, 3, 12, &[0x11, 4, 50, 0])];
        let found = places(parts).expect("sound");
        assert_eq!(found, [(0, 4, 50), (4, 4, NOWHERE_BYTES), (8, 2, 7), (10, 2, NOWHERE_BYTES)]);
    }

    #[test]
    fn lists_that_contradict_themselves_are_damage() {
        for runs in [&[0x21, 0x18][..], &[0x11, 0x00, 0x01], &[0x11, 0x30, 0xF0], &[0x11, 0x2F, 0x01, 0], &[0x90], &[]] {
            assert!(places(vec![part(0, 0x2F, 0x30, runs)]).is_err(), "{runs:?}");
        }
        assert_eq!(places(vec![part(0, u64::MAX, 0, &[0])]).expect("empty"), []);
    }
}
