//! `POINT:PATH` as it is typed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::str::FromStr;

/// What a point's directory has: paths that do not begin with a slash begin with one of these.
const TOPS: [&str; 4] = ["disks", "files", "machine", "root"];

/// A point and a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Location {
    /// The point's name as typed.
    pub(crate) point: String,
    /// The path: with a slash at its start the guest's own, else one of the point's directory. Empty: that directory.
    pub(crate) path: Vec<u8>,
}

impl FromStr for Location {
    type Err = String;

    /// Names of points have colons in their times, so the path begins at the first colon that something like a path follows.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected POINT or POINT:PATH, such as web01@latest:/etc/fstab".to_owned());
        }
        let begins_path = |rest: &str| {
            rest.starts_with('/')
                || TOPS.iter().any(|top| rest.strip_prefix(top).is_some_and(|more| more.is_empty() || more.starts_with('/')))
        };
        for (at, _) in text.match_indices(':') {
            let (point, path) = (&text[..at], &text[at + 1..]);
            if begins_path(path) {
                return Ok(Self { point: point.to_owned(), path: path.as_bytes().to_vec() });
            }
        }
        match text.strip_suffix(':') {
            Some(point) => Ok(Self { point: point.to_owned(), path: b"/".to_vec() }),
            None => Ok(Self { point: text.to_owned(), path: Vec::new() }),
        }
    }
}

/// The same for arguments that may hold bytes that are no UTF-8: a path of a guest can have any.
pub(crate) fn parse(argument: OsString) -> Result<Location, String> {
    let bytes = argument.into_vec();
    if let Ok(text) = std::str::from_utf8(&bytes) {
        return text.parse();
    }
    let at = bytes.windows(2).position(|pair| pair == b":/").ok_or("expected POINT:/PATH")?;
    let point = String::from_utf8(bytes[..at].to_vec()).map_err(|_| "the point's name is not UTF-8".to_owned())?;
    Ok(Location { point, path: bytes[at + 1..].to_vec() })
}

/// For clap.
#[derive(Debug, Clone)]
pub(crate) struct LocationParser;

impl LocationParser {
    /// The location that an argument means.
    pub(crate) fn of(argument: OsString) -> Result<Location, String> {
        parse(argument)
    }
}

impl clap::builder::TypedValueParser for LocationParser {
    type Value = Location;

    fn parse_ref(&self, command: &clap::Command, _: Option<&clap::Arg>, value: &std::ffi::OsStr) -> Result<Location, clap::Error> {
        parse(value.to_owned())
            .map_err(|problem| clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{problem}\n")).with_cmd(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_paths_are_told_apart() {
        for (text, point, path) in [
            ("web01@latest", "web01@latest", ""),
            ("web01@latest:/etc/fstab", "web01@latest", "/etc/fstab"),
            ("web01@2026-11-22T20:30:00Z", "web01@2026-11-22T20:30:00Z", ""),
            ("web01@2026-11-22T20:30:00Z:/a:b:/c", "web01@2026-11-22T20:30:00Z", "/a:b:/c"),
            ("web01@2026-11-22T20:30:00Z:files/data/x:y", "web01@2026-11-22T20:30:00Z", "files/data/x:y"),
            ("3fa85f64:disks", "3fa85f64", "disks"),
            ("web01@latest:", "web01@latest", "/"),
            ("web01@latest:filesystem", "web01@latest:filesystem", ""),
        ] {
            let expected = Location { point: point.to_owned(), path: path.as_bytes().to_vec() };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert!("".parse::<Location>().is_err());
        let bytes = OsString::from_vec(b"web01@latest:/a\xff".to_vec());
        assert_eq!(parse(bytes).expect("a location").path, b"/a\xff");
    }
}
