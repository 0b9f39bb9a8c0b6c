//! The state that device-mapper keeps of an array's legs, to tell a stale one from a good one.
//!
//! Layout: Linux `drivers/md/dm-raid.c`, `struct dm_raid_superblock`, at the beginning of each leg's metadata volume.

use crate::io::ReadAt;
use crate::volume::bytes::{le32, le64};

const MAGIC: u32 = 0x6452_6d44;
/// Written where a leg is in step to its end.
const IN_STEP: u64 = u64::MAX;

/// What one leg's superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LegState {
    place: u32,
    events: u64,
    failed: u64,
    recovered_sectors: u64,
}

/// Reads a leg's superblock; `None` where there is none: the array was never started, or it cannot be read.
pub(super) fn state(metadata: &dyn ReadAt) -> Option<LegState> {
    let mut raw = [0_u8; 512];
    metadata.read_at(0, &mut raw).ok()?;
    if le32(&raw, 0)? != MAGIC {
        return None;
    }
    Some(LegState { place: le32(&raw, 12)?, events: le64(&raw, 16)?, failed: le64(&raw, 24)?, recovered_sectors: le64(&raw, 32)? })
}

/// Which legs hold current data: not those that the newest superblock calls failed, whose own events fell behind, that are still being
/// filled, or that say they belong elsewhere. Where no leg has a superblock, all are taken for good.
pub(super) fn current(states: &[Option<LegState>]) -> Vec<bool> {
    let Some(newest) = states.iter().flatten().max_by_key(|state| state.events).copied() else {
        return vec![true; states.len()];
    };
    let is_current = |(place, state): (u32, &Option<LegState>)| {
        let named_failed = place < 64 && newest.failed.checked_shr(place).unwrap_or(0) & 1 == 1;
        state.is_some_and(|state| {
            // One event may have been written to some legs and not yet to all when the point was taken.
            let in_step = state.recovered_sectors == IN_STEP && newest.events.saturating_sub(state.events) <= 1;
            !named_failed && in_step && state.place == place
        })
    };
    (0_u32..).zip(states).map(is_current).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::MemoryAt;

    fn leg(place: u32, events: u64, failed: u64, recovered: u64) -> Option<LegState> {
        let mut raw = vec![0_u8; 512];
        raw[..4].copy_from_slice(b"DmRd");
        raw[12..16].copy_from_slice(&place.to_le_bytes());
        raw[16..24].copy_from_slice(&events.to_le_bytes());
        raw[24..32].copy_from_slice(&failed.to_le_bytes());
        raw[32..40].copy_from_slice(&recovered.to_le_bytes());
        state(&MemoryAt::new(raw))
    }

    #[test]
    fn stale_failed_and_half_filled_legs_are_not_current() {
        let good = |place| leg(place, 10, 0, IN_STEP);
        assert_eq!(current(&[good(0), good(1)]), [true, true]);
        assert_eq!(current(&[leg(0, 8, 0, IN_STEP), good(1)]), [false, true], "events fell behind");
        assert_eq!(current(&[good(0), leg(1, 10, 0b01, IN_STEP)]), [false, true], "of equals the last is asked");
        assert_eq!(current(&[leg(0, 10, 0b10, IN_STEP), leg(1, 9, 0, IN_STEP)]), [true, false], "called failed");
        assert_eq!(current(&[leg(0, 10, 0, 4096), good(1)]), [false, true], "being filled");
        assert_eq!(current(&[good(1), good(1)]), [false, true], "belongs elsewhere");
        assert_eq!(current(&[None, good(1)]), [false, true]);
        assert_eq!(current(&[None, None]), [true, true], "never started");
        assert_eq!(state(&MemoryAt::new(vec![0; 512])), None);
    }
}
