//! Dates and times of day as formats without seconds since 1970 have them.

use super::Timestamp;

/// A date and a time of day as formats have them; what is out of range is moved into it, as kernels do.
#[derive(Clone, Copy, Debug)]
pub(super) struct CivilTime {
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: u8,
    /// 1 to 31.
    pub(super) day: u8,
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
}

impl CivilTime {
    /// Seconds since 1970, if the time is that of UTC. Days are counted in years that begin in March, so that a leap day comes last
    /// (the Gregorian calendar for all times).
    pub(super) fn seconds(self) -> i64 {
        let month = i64::from(self.month.clamp(1, 12));
        let day = i64::from(self.day.clamp(1, 31));
        let year = self.year.clamp(0, 9999) - i64::from(month <= 2);
        let month_from_march = (month + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
        let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468;
        days * 86_400 + i64::from(self.hour.min(23)) * 3600 + i64::from(self.minute.min(59)) * 60 + i64::from(self.second.min(59))
    }
}

/// A date and a time of DOS (steps of 2 seconds since 1980) with hundredths of a second (0 to 199), taken as UTC.
pub(super) fn dos_time(date: u16, time: u16, hundredths: u8) -> Timestamp {
    let bits = |number: u16, shift: u32, mask: u16| u8::try_from((number >> shift) & mask).unwrap_or(0);
    let civil = CivilTime {
        year: 1980 + i64::from(date >> 9),
        month: bits(date, 5, 15),
        day: bits(date, 0, 31),
        hour: bits(time, 11, 31),
        minute: bits(time, 5, 63),
        second: bits(time, 0, 31) * 2,
    };
    let hundredths = u32::from(hundredths.min(199));
    Timestamp { seconds: civil.seconds() + i64::from(hundredths / 100), nanoseconds: hundredths % 100 * 10_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_counted_over_leap_years() {
        let at = |year, month, day, hour| CivilTime { year, month, day, hour, minute: 0, second: 0 }.seconds();
        assert_eq!(at(1970, 1, 1, 0), 0);
        assert_eq!(at(1969, 12, 31, 23), -3600);
        assert_eq!(at(2000, 2, 29, 0), 951_782_400);
        assert_eq!(at(2000, 3, 1, 0), 951_868_800);
        assert_eq!(at(2100, 3, 1, 0), 4_107_542_400);
        assert_eq!(dos_time(0, 0, 0).seconds, 315_532_800, "a date of zeros is the first day of DOS");
        // 2026-11-22 23:44:38.5
        let time = dos_time((46 << 9) | (11 << 5) | 22, (23 << 11) | (44 << 5) | 19, 50);
        assert_eq!(time, Timestamp { seconds: 1_795_391_078, nanoseconds: 500_000_000 });
    }
}
