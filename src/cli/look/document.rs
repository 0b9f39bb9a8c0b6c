//! A file of a guest as JSON.

use cairn::guestfs::{Attributes, FileKind, Timestamp};
use jiff::Timestamp as Moment;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::super::render::{local_minute, size};
use super::names::{mode_letters, shown};

/// What is known of one file.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FileDocument {
    /// The path; bytes that are no UTF-8 as `\xff`.
    pub(crate) path: String,
    pub(crate) kind: &'static str,
    pub(crate) size_bytes: u64,
    pub(crate) allocated_bytes: u64,
    /// Octal: "0644".
    pub(crate) mode: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u32,
    pub(crate) device: Option<String>,
    pub(crate) modified: Option<Moment>,
    pub(crate) changed: Option<Moment>,
    pub(crate) accessed: Option<Moment>,
    pub(crate) created: Option<Moment>,
    pub(crate) target: Option<String>,
}

impl FileDocument {
    /// A file with its path and, of a link, its target.
    pub(crate) fn new(path: &[u8], known: &Attributes, target: Option<&[u8]>) -> Self {
        Self {
            path: shown(path),
            kind: kind(known.kind),
            size_bytes: known.size_bytes,
            allocated_bytes: known.allocated_bytes,
            mode: format!("{:04o}", known.mode),
            uid: known.uid,
            gid: known.gid,
            links: known.links,
            device: known.device.map(|device| format!("{}:{}", device.major, device.minor)),
            modified: moment(known.modified),
            changed: known.changed.and_then(moment),
            accessed: known.accessed.and_then(moment),
            created: known.created.and_then(moment),
            target: target.map(shown),
        }
    }
}

/// A kind in a word.
pub(crate) fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Link => "link",
        FileKind::Pipe => "pipe",
        FileKind::Socket => "socket",
        FileKind::CharacterDevice => "character device",
        FileKind::BlockDevice => "block device",
    }
}

/// A file on a line of its own, in columns that are wide enough for most.
pub(crate) fn long_line(path: &[u8], known: &Attributes, target: Option<&[u8]>, zone: &TimeZone) -> String {
    let bytes = match known.device {
        Some(device) => format!("{}, {}", device.major, device.minor),
        None => size(known.size_bytes),
    };
    let time = moment(known.modified).map_or_else(|| "-".to_owned(), |time| local_minute(time, zone));
    let target = target.map(|target| format!(" -> {}", shown(target))).unwrap_or_default();
    let mode = mode_letters(known.kind, known.mode);
    format!("{mode} {:>3} {:>5} {:>5} {bytes:>9} {time} {}{target}\n", known.links, known.uid, known.gid, shown(path))
}

/// A time as JSON and tables have it; `None` for one past the year 9999.
pub(crate) fn moment(time: Timestamp) -> Option<Moment> {
    Moment::new(time.seconds, i32::try_from(time.nanoseconds).ok()?).ok()
}

/// Something of files that a copy or an archive could not keep.
#[derive(Debug, Serialize)]
pub(crate) struct LossDocument {
    pub(crate) what: String,
    pub(crate) files: u64,
}
