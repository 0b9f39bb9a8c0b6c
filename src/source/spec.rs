//! How a person names a source, and how an image's format is recognised.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Recognised by the file's content; a block device is taken as raw.
    Auto,
    /// The file's bytes are the disk's.
    Raw,
    /// QEMU copy on write, versions 2 and 3.
    Qcow2,
    /// Virtual PC and early Hyper-V: fixed, dynamic, differencing.
    Vhd,
    /// Hyper-V.
    Vhdx,
    /// VMware: a sparse extent, or a descriptor that names extents.
    Vmdk,
}

impl Format {
    /// The name as written in front of a path and shown in descriptions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no image format; expected auto, raw, qcow2, vhd (vpc), vhdx or vmdk")]
pub struct FormatError(pub String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        match text {
            "auto" => Ok(Self::Auto),
            "raw" => Ok(Self::Raw),
            "qcow2" => Ok(Self::Qcow2),
            "vhd" | "vpc" => Ok(Self::Vhd),
            "vhdx" => Ok(Self::Vhdx),
            "vmdk" => Ok(Self::Vmdk),
            _ => Err(FormatError(text.to_owned())),
        }
    }
}

/// A source as a person writes it: `PATH`, or `FORMAT:PATH` where the format is not to be guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// The format, [`Format::Auto`] unless one was written.
    pub format: Format,
    /// The file or device.
    pub path: PathBuf,
}

impl SourceSpec {
    /// Splits `FORMAT:PATH`; what stands before the colon is part of the path unless it is a format's name, so any path can
    /// be written (`./raw:disk` for a file of that name).
    pub fn parse(text: &OsStr) -> Self {
        let bytes = text.as_bytes();
        let split = bytes.iter().position(|&byte| byte == b':').and_then(|colon| bytes.split_at_checked(colon));
        if let Some((name, [b':', path @ ..])) = split
            && let Some(format) = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok())
        {
            return Self { format, path: PathBuf::from(OsStr::from_bytes(path)) };
        }
        Self { format: Format::Auto, path: PathBuf::from(text) }
    }
}

/// How an image's format came to be known, which decides whether other files that it names are opened.
///
/// A guest can write what it likes to the start of a raw disk: a header that names `/etc/shadow` as its backing file, say. An image
/// that was only recognised by its content is therefore read by itself alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Somebody on the host said so: the user, the file's name, or the image that rests on it.
    Named,
    /// Only the content says so.
    Guessed,
}

/// The format that the start of a file shows, raw where it shows none. A fixed VHD shows nothing here.
pub(super) fn recognise(start: &[u8]) -> Format {
    if start.starts_with(b"QFI\xfb") {
        Format::Qcow2
    } else if start.starts_with(b"vhdxfile") {
        Format::Vhdx
    } else if start.starts_with(b"conectix") {
        Format::Vhd
    } else if start.starts_with(b"KDMV") || start.starts_with(b"COWD") || start.starts_with(b"# Disk DescriptorFile") {
        Format::Vmdk
    } else {
        Format::Raw
    }
}

/// The format that a file's name shows, where it shows one.
pub(super) fn named(path: &Path) -> Option<Format> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "qcow2" | "qcow" => Some(Format::Qcow2),
        "vhd" | "avhd" | "vpc" => Some(Format::Vhd),
        "vhdx" | "avhdx" => Some(Format::Vhdx),
        "vmdk" => Some(Format::Vmdk),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Format, PathBuf) {
        let spec = SourceSpec::parse(OsStr::new(text));
        (spec.format, spec.path)
    }

    #[test]
    fn only_a_formats_name_is_split_off() {
        assert_eq!(parse("qcow2:/srv/a"), (Format::Qcow2, "/srv/a".into()));
        assert_eq!(parse("vpc:a:b"), (Format::Vhd, "a:b".into()));
        assert_eq!(parse("/srv/a"), (Format::Auto, "/srv/a".into()));
        assert_eq!(parse("./raw:a"), (Format::Auto, "./raw:a".into()));
        assert_eq!(parse("c:a"), (Format::Auto, "c:a".into()));
        assert_eq!(parse(":a"), (Format::Auto, ":a".into()));
        assert_eq!(parse(""), (Format::Auto, "".into()));
    }
}
