//! The header of a qcow2 image and its extensions, from bytes to checked numbers.
//!
//! Layout: docs/interop/qcow2.rst of QEMU.

use crate::source::Format;
use crate::source::fields::{Fields, Flaw};
use crate::source::unpack::Packing;
use crate::units::Grid;

/// Bytes of a header of version 2; later fields start here.
const V2_BYTES: usize = 72;
/// Bytes of the shortest header of version 3.
const V3_BYTES: u32 = 104;
/// Largest L1 table that is read, as in QEMU.
const MAX_L1_BYTES: u64 = 32 << 20;
const MAX_NAME_BYTES: u32 = 1023;

/// Incompatible feature bits.
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION_TYPE: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
/// The ones that are understood. The first, "dirty", only says that the reference counts are not to be believed, which are not read.
const KNOWN: u64 = 1 | CORRUPT | DATA_FILE | COMPRESSION_TYPE | EXTENDED_L2;

/// Header extensions.
const BACKING_FORMAT: u32 = 0xe279_2aca;
const FEATURE_NAMES: u32 = 0x6803_f857;
const DATA_FILE_NAME: u32 = 0x4441_5441;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) cluster_bytes: u64,
    pub(super) size_bytes: u64,
    pub(super) l1_offset_bytes: u64,
    /// Clusters are divided into 32 parts, each with a state of its own.
    pub(super) extended_l2: bool,
    pub(super) packing: Packing,
    pub(super) backing: Option<Backing>,
    /// The file that holds the clusters instead of the image itself; its name where the image tells one.
    pub(super) data_file: Option<Option<Vec<u8>>>,
}

/// The image that this one rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backing {
    pub(super) name: Vec<u8>,
    pub(super) format: Format,
}

/// Bytes of a cluster, from the first [`V2_BYTES`] bytes of an image. The header with all that it names lies in the first one.
pub(super) fn cluster_bytes(start: &[u8]) -> Result<u64, Flaw> {
    let fields = Fields { what: "header", bytes: start };
    if fields.array(0)? != *b"QFI\xfb" {
        return Err(Flaw::Damaged("it does not start with QFI".to_owned()));
    }
    let version = fields.be32(4)?;
    if !matches!(version, 2 | 3) {
        return Err(unsupported(format!("it is of version {version} of the format, and only 2 and 3 are read")));
    }
    let bits = fields.be32(20)?;
    if !(9..=21).contains(&bits) {
        return Err(Flaw::Damaged(format!("its clusters have 2^{bits} bytes; 2^9 to 2^21 are possible")));
    }
    Ok(1_u64.checked_shl(bits).unwrap_or(0))
}

/// The header, from the image's first cluster. `file_bytes` is the length of the image file.
pub(super) fn parse(cluster: &[u8], file_bytes: u64) -> Result<Header, Flaw> {
    let fields = Fields { what: "header", bytes: cluster };
    let cluster_bytes = cluster_bytes(cluster)?;
    let version = fields.be32(4)?;
    let (incompatible, header_bytes) = if version >= 3 { (fields.be64(72)?, fields.be32(100)?) } else { (0, 72) };
    if version >= 3 && (header_bytes < V3_BYTES || u64::from(header_bytes) > cluster_bytes) {
        return Err(Flaw::Damaged(format!("its header has {header_bytes} bytes")));
    }
    let extensions = extensions(&fields, usize::try_from(header_bytes).unwrap_or(V2_BYTES))?;
    check_features(incompatible, &extensions)?;
    check_encryption(fields.be32(32)?)?;
    let packing = packing(&fields, incompatible, header_bytes)?;
    let size_bytes = fields.be64(24)?;
    if size_bytes > Grid::MAX_DISK_BYTES {
        return Err(Flaw::Damaged(format!("its disk has {size_bytes} bytes, more than 1 EiB")));
    }
    let extended_l2 = incompatible & EXTENDED_L2 != 0;
    if extended_l2 && cluster_bytes < 1 << 14 {
        return Err(Flaw::Damaged(format!("its clusters of {cluster_bytes} bytes are too small for extended L2 entries")));
    }
    let data_file = (incompatible & DATA_FILE != 0).then(|| extensions.data_file.map(<[u8]>::to_vec));
    let backing = backing(&fields, &extensions)?;
    let header = Header { version, cluster_bytes, size_bytes, l1_offset_bytes: fields.be64(40)?, extended_l2, packing, backing, data_file };
    check_l1(&header, fields.be32(36)?, file_bytes)?;
    Ok(header)
}

impl Header {
    /// Bytes of an L2 entry.
    pub(super) fn l2_entry_bytes(&self) -> u64 {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// Bytes of disk that one L2 table, which fills a cluster, tells of.
    pub(super) fn l2_span_bytes(&self) -> u64 {
        // At most 2^18 entries of 2^21 bytes each.
        self.cluster_bytes.checked_div(self.l2_entry_bytes()).unwrap_or(0).saturating_mul(self.cluster_bytes)
    }
}

fn unsupported(what: String) -> Flaw {
    Flaw::Unsupported { what, cure: "convert it: qemu-img convert -O qcow2".to_owned() }
}

#[derive(Default)]
struct Extensions<'a> {
    backing_format: Option<&'a [u8]>,
    data_file: Option<&'a [u8]>,
    feature_names: &'a [u8],
}

/// Reads the extensions that are of use here and passes over the others.
fn extensions<'a>(fields: &Fields<'a>, mut at: usize) -> Result<Extensions<'a>, Flaw> {
    let mut found = Extensions::default();
    // The backing file's name may follow without an end mark, in images of version 2.
    let backing = usize::try_from(fields.be64(8)?).unwrap_or(0);
    let end = if backing >= at { backing } else { fields.bytes.len() };
    while at.saturating_add(8) <= end {
        let (kind, length) = (fields.be32(at)?, usize::try_from(fields.be32(at.saturating_add(4))?).unwrap_or(usize::MAX));
        if kind == 0 {
            break;
        }
        let data_at = at.saturating_add(8);
        let data = fields.slice(data_at, length)?;
        match kind {
            BACKING_FORMAT => found.backing_format = Some(data),
            DATA_FILE_NAME => found.data_file = Some(data),
            FEATURE_NAMES => found.feature_names = data,
            _ => {}
        }
        at = data_at.saturating_add(length.checked_next_multiple_of(8).unwrap_or(usize::MAX));
    }
    Ok(found)
}

/// Refuses features that are not understood, by the name that the image gives them.
fn check_features(incompatible: u64, extensions: &Extensions<'_>) -> Result<(), Flaw> {
    if incompatible & CORRUPT != 0 {
        return Err(Flaw::Damaged("it is marked as corrupt (qemu-img check -r all)".to_owned()));
    }
    let unknown = (0..64).find(|&bit| incompatible & !KNOWN & 1_u64.checked_shl(bit).unwrap_or(0) != 0);
    let Some(bit) = unknown else { return Ok(()) };
    let name = extensions.feature_names.chunks_exact(48).find_map(|entry| match entry {
        [0, number, name @ ..] if u32::from(*number) == bit => Some(name),
        _ => None,
    });
    let name = name.map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').escape_debug().to_string());
    let name = name.map_or_else(String::new, |name| format!(" ('{name}')"));
    Err(unsupported(format!("it has the incompatible feature bit {bit}{name}, which is not understood")))
}

fn check_encryption(method: u32) -> Result<(), Flaw> {
    let name = match method {
        0 => return Ok(()),
        1 => "AES",
        2 => "LUKS",
        other => return Err(unsupported(format!("it is encrypted by method {other}, which is not understood"))),
    };
    Err(Flaw::Unsupported {
        what: format!("it is encrypted ({name})"),
        cure: "back it up as raw:PATH, which keeps it encrypted, or decrypt it first: qemu-img convert".to_owned(),
    })
}

fn packing(fields: &Fields<'_>, incompatible: u64, header_bytes: u32) -> Result<Packing, Flaw> {
    let kind = if header_bytes > V3_BYTES { fields.array::<1>(104)? } else { [0] };
    match (kind, incompatible & COMPRESSION_TYPE != 0) {
        ([0], _) => Ok(Packing::Deflate),
        ([1], true) => Ok(Packing::Zstd),
        ([other], _) => Err(unsupported(format!("its clusters are compressed by method {other}, which is not understood"))),
    }
}

fn backing(fields: &Fields<'_>, extensions: &Extensions<'_>) -> Result<Option<Backing>, Flaw> {
    let (offset, length) = (fields.be64(8)?, fields.be32(16)?);
    if offset == 0 || length == 0 {
        return Ok(None);
    }
    if length > MAX_NAME_BYTES {
        return Err(Flaw::Damaged(format!("the name of its backing file has {length} bytes")));
    }
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    let name = fields.slice(at, usize::try_from(length).unwrap_or(usize::MAX))?.to_vec();
    let format = match extensions.backing_format {
        None => Format::Auto,
        Some(b"raw" | b"file" | b"host_device") => Format::Raw,
        Some(other) => {
            let text = String::from_utf8_lossy(other);
            text.parse().map_err(|_| unsupported(format!("its backing file is of format '{}', which is not read", text.escape_debug())))?
        }
    };
    Ok(Some(Backing { name, format }))
}

/// The L1 table must have an entry for every part of the disk, and lie in the file.
fn check_l1(header: &Header, entries: u32, file_bytes: u64) -> Result<(), Flaw> {
    let needed = header.size_bytes.div_ceil(header.l2_span_bytes().max(1));
    let bytes = needed.saturating_mul(8);
    if u64::from(entries) < needed {
        let what = format!("its L1 table has {entries} entries, and its disk of {} bytes needs {needed}", header.size_bytes);
        return Err(Flaw::Damaged(what));
    }
    if bytes > MAX_L1_BYTES {
        return Err(Flaw::Damaged(format!("its L1 table has {bytes} bytes, more than QEMU itself reads")));
    }
    let offset = header.l1_offset_bytes;
    if !offset.is_multiple_of(header.cluster_bytes) || offset.checked_add(bytes).is_none_or(|end| end > file_bytes) {
        let what = format!("its L1 table should lie at offset {offset}, {bytes} bytes long, and the file ends at {file_bytes}");
        return Err(Flaw::Damaged(what));
    }
    Ok(())
}
