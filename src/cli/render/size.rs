//! Sizes, rates and ratios.

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes with a binary unit: "0 B", "512 B", "1.4 GiB", "120 GiB". Three digits at most before the point, one after it below 100.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = 0;
    // Counted in tenths, so that rounding up to the next unit is seen: 1023.96 KiB is 1.0 MiB.
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 9_995 && unit + 1 < UNITS.len() {
        unit += 1;
        let divisor = 1_u128 << (10 * unit);
        tenths = (u128::from(bytes) * 10 + divisor / 2) / divisor;
    }
    let name = UNITS.get(unit).copied().unwrap_or("EiB");
    match (unit, tenths) {
        (0, _) => format!("{bytes} B"),
        (_, 1_000..) => format!("{} {name}", (tenths + 5) / 10),
        _ => format!("{}.{} {name}", tenths / 10, tenths % 10),
    }
}

/// Bytes per second: "310 MiB/s"; "-" where no time passed.
pub(crate) fn rate(bytes: u64, seconds: f64) -> String {
    if seconds <= 0.0 {
        return "-".to_owned();
    }
    format!("{}/s", size((bytes as f64 / seconds) as u64))
}

/// How many times `large` is `small`: "3.2 x"; "-" where there is nothing to divide by.
pub(crate) fn ratio(large: u64, small: u64) -> String {
    if small == 0 {
        return "-".to_owned();
    }
    let ratio = large as f64 / small as f64;
    if ratio < 100.0 { format!("{ratio:.1} x") } else { format!("{ratio:.0} x") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well_at_every_scale() {
        let cases: [(u64, &str); 14] = [
            (0, "0 B"),
            (1, "1 B"),
            (999, "999 B"),
            (1000, "1.0 KiB"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (102_399, "100 KiB"),
            (1 << 20, "1.0 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1_503_238_554, "1.4 GiB"),
            (128_849_018_880, "120 GiB"),
            (8 << 40, "8.0 TiB"),
            (1 << 60, "1.0 EiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn rates_and_ratios_survive_zero() {
        assert_eq!(rate(1 << 30, 2.0), "512 MiB/s");
        assert_eq!(rate(1, 0.0), "-");
        assert_eq!(ratio(32, 10), "3.2 x");
        assert_eq!(ratio(1000, 1), "1000 x");
        assert_eq!(ratio(1, 0), "-");
    }
}
