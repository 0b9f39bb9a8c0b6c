//! What is known of an object of a filesystem, in the words of Linux.

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A file with contents.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

impl FileKind {
    /// The kind in the upper four bits of a Unix mode; `None` for a number that means nothing.
    #[must_use]
    pub fn of_mode(mode: u32) -> Option<Self> {
        match mode & 0o170_000 {
            0o100_000 => Some(Self::Regular),
            0o040_000 => Some(Self::Directory),
            0o120_000 => Some(Self::Link),
            0o010_000 => Some(Self::Pipe),
            0o140_000 => Some(Self::Socket),
            0o020_000 => Some(Self::CharacterDevice),
            0o060_000 => Some(Self::BlockDevice),
            _ => None,
        }
    }
}

/// A moment: seconds since 1970 UTC (before it negative) and nanoseconds (0 to 999,999,999) after that second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: i64,
    /// The rest.
    pub nanoseconds: u32,
}

/// The number of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

impl DeviceNumber {
    /// The number as Linux packs it into 32 bits: 12 bits for the driver between the low 8 and the high 12 for the device.
    #[must_use]
    pub fn of_linux(number: u32) -> Self {
        Self { major: (number >> 8) & 0xfff, minor: (number & 0xff) | ((number >> 12) & 0x000f_ff00) }
    }
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: FileKind,
    /// Bytes of its contents (of a link: of its target).
    pub size_bytes: u64,
    /// Bytes that it occupies.
    pub allocated_bytes: u64,
    /// Permission bits with setuid, setgid and sticky, below 0o10000. A format without them: 0o644 and 0o755, less what is read-only.
    pub mode: u16,
    /// Owner; 0 where the format has none.
    pub uid: u32,
    /// Group; 0 where the format has none.
    pub gid: u32,
    /// Names that lead to it.
    pub links: u32,
    /// For device nodes.
    pub device: Option<DeviceNumber>,
    /// Contents last changed.
    pub modified: Timestamp,
    /// Anything last changed, where the format has it.
    pub changed: Option<Timestamp>,
    /// Last read, where the format has it.
    pub accessed: Option<Timestamp>,
    /// Made, where the format has it.
    pub created: Option<Timestamp>,
}

impl Attributes {
    /// What is known of a topmost directory that has no entry of its own.
    pub(super) fn of_root(size_bytes: u64) -> Self {
        Self {
            kind: FileKind::Directory,
            size_bytes,
            allocated_bytes: size_bytes,
            mode: 0o755,
            uid: 0,
            gid: 0,
            links: 1,
            device: None,
            modified: Timestamp::default(),
            changed: None,
            accessed: None,
            created: None,
        }
    }
}
