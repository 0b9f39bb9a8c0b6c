//! What is wrong with hints, with the place of the fault.

use std::io;

/// Why hints cannot be used. Every one of them is answered the same way: make the hints anew, or do without and scan the whole
/// disk.
#[derive(Debug, thiserror::Error)]
pub enum HintError {
    /// More bytes than any producer writes for a disk that Cairn keeps.
    #[error("the hints have {bytes} bytes, more than the {limit_bytes} that are read; check that the right file was named")]
    TooLarge {
        /// Bytes of the hints.
        bytes: u64,
        /// Most bytes that are read.
        limit_bytes: u64,
    },
    /// None of the known formats.
    #[error(
        "the hints are of no known format: {found}; expected the JSON of 'qemu-img map', 'nbdinfo --map' or 'rbd diff', the XML of \
         'thin_delta', or Cairn's own JSON (docs/hints.md)"
    )]
    Unrecognised {
        /// What the hints start with, in words.
        found: String,
    },
    /// Not well-formed, or a field is missing or of the wrong kind.
    #[error("the hints of {format} are malformed at line {line}: {what}")]
    Malformed {
        /// The producer's name.
        format: &'static str,
        /// Line, from 1.
        line: u64,
        /// What was found and expected.
        what: String,
    },
    /// One entry contradicts the disk or the entries before it.
    #[error("the hints of {format} are wrong in entry {entry}: {fault}")]
    Entry {
        /// The producer's name.
        format: &'static str,
        /// Entry, from 1.
        entry: u64,
        /// What is wrong with it.
        fault: EntryFault,
    },
    /// The hints describe a disk of another size.
    #[error(
        "the hints of {format} describe a disk of {described_bytes} bytes, but the disk has {disk_bytes}; check that they are of this disk \
         and made after its last change of size"
    )]
    WrongSize {
        /// The producer's name.
        format: &'static str,
        /// Bytes of the disk by the hints.
        described_bytes: u64,
        /// Bytes of the disk.
        disk_bytes: u64,
    },
    /// The two files cannot be compared by where their bytes lie.
    #[error("extents cannot be compared with those of the copy of the last backup: {why}")]
    Incomparable {
        /// Why not.
        why: &'static str,
    },
    /// The filesystem does not tell where the bytes of a file lie.
    #[error("the filesystem does not tell the extents of {file}: {source}")]
    Extents {
        /// Which of the two files.
        file: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// What is wrong with one entry of hints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// It has bytes past the end of the disk.
    #[error("it is {length_bytes} bytes from offset {offset_bytes}, past the end of the disk at {disk_bytes}")]
    BeyondEnd {
        /// First byte.
        offset_bytes: u64,
        /// Bytes.
        length_bytes: u64,
        /// Bytes of the disk.
        disk_bytes: u64,
    },
    /// It starts before the one before it ends.
    #[error("it starts at offset {offset_bytes}, before the end of the entry before it at {end_bytes}")]
    Overlap {
        /// Its first byte.
        offset_bytes: u64,
        /// The byte after the entry before it.
        end_bytes: u64,
    },
    /// A format that describes the whole disk leaves bytes out.
    #[error("it starts at offset {offset_bytes}, but nothing is said of the bytes from {end_bytes}")]
    Gap {
        /// Its first byte.
        offset_bytes: u64,
        /// The byte after the entry before it.
        end_bytes: u64,
    },
    /// It lacks a field.
    #[error("it has no field '{0}'")]
    Missing(&'static str),
    /// A field's value is none of the known ones.
    #[error("its {field} is '{found}'; {expected}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What was expected, or what to do.
        expected: &'static str,
    },
}
