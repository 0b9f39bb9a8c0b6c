//! Windows counts 100 ns from 1601 on.

use crate::guestfs::Timestamp;

const PER_SECOND: i64 = 10_000_000;
/// Seconds from 1601 to 1970.
const TO_1970: i64 = 11_644_473_600;

/// A moment from its number on the disk.
pub(super) fn timestamp(number: u64) -> Timestamp {
    let number = number.cast_signed();
    let seconds = number.div_euclid(PER_SECOND).saturating_sub(TO_1970);
    let nanoseconds = u32::try_from(number.rem_euclid(PER_SECOND).saturating_mul(100)).unwrap_or(0);
    Timestamp { seconds, nanoseconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_and_after_1970() {
        let at = |number| (timestamp(number).seconds, timestamp(number).nanoseconds);
        assert_eq!(at(116_444_736_000_000_001), (0, 100));
        assert_eq!(at(116_444_735_999_999_999), (-1, 999_999_900));
        assert_eq!(at(0), (-11_644_473_600, 0));
        assert_eq!(at(u64::MAX), (-11_644_473_601, 999_999_900));
    }
}
