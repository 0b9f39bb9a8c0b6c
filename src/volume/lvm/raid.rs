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
    resynced_sectors: u64,
}

/// Reads a leg's superblock; `None` where there is none: the array was never started, or it cannot be read.
pub(super) fn state(metadata: &dyn ReadAt) -> Option<LegState> {
    let mut raw = [0_u8; 512];
    metadata.read_at(0, &mut raw).ok()?;
    if le32(&raw, 0)? != MAGIC {
        return None;
    }
    Some(LegState {
        place: le32(&raw, 12)?,
        events: le64(&raw, 16)?,
        failed: le64(&raw, 24)?,
        recovered_sectors: le64(&raw, 32)?,
        resynced_sectors: le64(&raw, 40)?,
    })
}

/// How many bytes of each leg, from its beginning, are current: none of those that the newest superblock calls failed, whose own events
/// fell behind, or that say they belong elsewhere. Where no leg has a superblock, all are taken for good.
pub(super) fn current(states: &[Option<LegState>]) -> Vec<u64> {
    let Some(newest) = newest(states) else { return vec![u64::MAX; states.len()] };
    let current = |(place, state): (u32, &Option<LegState>)| {
        let named_failed = place < 64 && newest.failed.checked_shr(place).unwrap_or(0) & 1 == 1;
        // One event may have been written to some legs and not yet to all when the point was taken.
        let behind = |state: &LegState| newest.events.saturating_sub(state.events) > 1;
        match state {
            Some(state) if !named_failed && !behind(state) && state.place == place => state.recovered_sectors.saturating_mul(512),
            _ => 0,
        }
    };
    (0_u32..).zip(states).map(current).collect()
}

/// Whether copies and parity may differ from the data somewhere: they were not all made when the point was taken.
pub(super) fn is_resyncing(states: &[Option<LegState>]) -> bool {
    newest(states).is_some_and(|newest| newest.resynced_sectors != IN_STEP)
}

fn newest(states: &[Option<LegState>]) -> Option<LegState> {
    states.iter().flatten().max_by_key(|state| state.events).copied()
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
        const ALL: u64 = u64::MAX;
        let good = |place| leg(place, 10, 0, IN_STEP);
        assert_eq!(current(&[good(0), good(1)]), [ALL, ALL]);
        assert_eq!(current(&[leg(0, 8, 0, IN_STEP), good(1)]), [0, ALL], "events fell behind");
        assert_eq!(current(&[good(0), leg(1, 10, 0b01, IN_STEP)]), [0, ALL], "of equals the last is asked");
        assert_eq!(current(&[leg(0, 10, 0b10, IN_STEP), leg(1, 9, 0, IN_STEP)]), [ALL, 0], "called failed");
        assert_eq!(current(&[leg(0, 10, 0, 4096), good(1)]), [4096 * 512, ALL], "being filled");
        assert_eq!(current(&[good(1), good(1)]), [0, ALL], "belongs elsewhere");
        assert_eq!(current(&[None, good(1)]), [0, ALL]);
        assert_eq!(current(&[None, None]), [ALL, ALL], "never started");
        assert_eq!(state(&MemoryAt::new(vec![0; 512])), None);
        assert_eq!((is_resyncing(&[good(0)]), is_resyncing(&[None])), (true, false), "nothing is written there");
    }
}
