//! Bytes per second as people write them.

use std::num::NonZeroU64;

/// The least rate: below it an object of a few MiB would keep a command busy for hours.
const LEAST: u64 = 64 << 10;

/// `50M`: a whole number of bytes, or of KiB, MiB, GiB or TiB; at least 64 KiB.
pub(crate) fn parse(text: &str) -> Result<NonZeroU64, String> {
    let wrong = || "expected bytes per second, at least 64K: a whole number, and K, M, G or T for KiB, MiB, GiB or TiB".to_owned();
    let rate = super::size::parse(text);
    rate.filter(|&rate| rate >= LEAST).and_then(NonZeroU64::new).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        let parsed = ["65536", "64K", "50M", "3g", "1T"].map(|text| parse(text).map(NonZeroU64::get));
        assert_eq!(parsed, [Ok(65_536), Ok(65_536), Ok(50 << 20), Ok(3 << 30), Ok(1 << 40)]);
        for text in
            ["", "M", "0", "0M", "63K", "1.5M", "50MB", "50 M", "-1M", "+1M", "99999999T", "18446744073709551616", "\u{663}M", "5\u{e9}"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
