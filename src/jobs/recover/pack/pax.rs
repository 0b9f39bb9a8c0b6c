//! Records of a PAX header (POSIX.1-2001, "pax Interchange Format"): what does not fit into the fields of the old tar header.

use crate::guestfs::Timestamp;

/// Records of one file.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<u8>);

impl Records {
    /// Adds `key=value` with its length in front, which counts its own digits.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        // A space, the equals sign, the line feed.
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while body + length.to_string().len() != length {
            length = body + length.to_string().len();
        }
        self.0.extend_from_slice(format!("{length} ").as_bytes());
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    /// Adds a number.
    pub(super) fn add_number(&mut self, key: &str, value: u64) {
        self.add(key.as_bytes(), value.to_string().as_bytes());
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A time as a decimal fraction of seconds.
pub(super) fn time(time: Timestamp) -> String {
    match (time.seconds, time.nanoseconds.min(999_999_999)) {
        (seconds, 0) => seconds.to_string(),
        (seconds, nanoseconds) if seconds >= 0 => format!("{seconds}.{nanoseconds:09}"),
        // Nanoseconds count upwards from the second before: -5 and a quarter of a second is -4.75.
        (seconds, nanoseconds) => {
            let whole = seconds.saturating_add(1);
            format!("-{}.{:09}", whole.unsigned_abs(), 1_000_000_000 - nanoseconds)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for (length, expected) in [(1, "6 k="), (88, "94 k="), (93, "99 k="), (94, "101 k="), (95, "102 k=")] {
            let mut records = Records::default();
            records.add(b"k", "v".repeat(length).as_bytes());
            let text = String::from_utf8(records.bytes().to_vec()).expect("text");
            assert!(text.starts_with(expected), "{length}: {text}");
            let told: usize = text.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
            assert_eq!(told, text.len(), "{length}");
        }
    }

    #[test]
    fn times_are_fractions() {
        let text = |seconds, nanoseconds| time(Timestamp { seconds, nanoseconds });
        assert_eq!(text(7, 0), "7");
        assert_eq!(text(7, 5), "7.000000005");
        assert_eq!(text(-5, 0), "-5");
        assert_eq!(text(-5, 250_000_000), "-4.750000000");
        assert_eq!(text(-1, 250_000_000), "-0.750000000");
    }
}
