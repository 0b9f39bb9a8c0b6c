//! The descriptor of a VMDK: lines of text that name the extents and the parent.
//!
//! Layout: VMware's "Virtual Disk Format 5.0", section "The Descriptor File".

use crate::source::fields::Flaw;

/// Most extents of a disk: each is an open file.
const MAX_EXTENTS: usize = 512;
/// The parent's content id where there is no parent.
const NO_PARENT: u32 = u32::MAX;

/// A descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// Changes with the first write after the disk was opened: what a child knows its parent by.
    pub(super) content_id: Option<u32>,
    pub(super) parent: Option<Parent>,
    pub(super) extents: Vec<ExtentLine>,
}

/// The disk that this one holds the changes of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) content_id: u32,
    pub(super) path: String,
}

/// How an extent holds its part of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Its bytes are the disk's, from this offset of the file.
    Flat { offset_bytes: u64 },
    /// A file with tables of its own.
    Sparse,
    /// No file; zeros.
    Zero,
}

/// A part of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExtentLine {
    pub(super) length_bytes: u64,
    pub(super) layout: Layout,
    /// Empty for zeros.
    pub(super) file: String,
}

/// Reads a descriptor. Bytes that are no UTF-8 are replaced: they can only stand in comments and in names of files.
pub(super) fn parse(bytes: &[u8]) -> Result<Descriptor, Flaw> {
    let text = String::from_utf8_lossy(bytes);
    // An embedded descriptor is filled up with zeros.
    let text = text.split('\0').next().unwrap_or_default();
    let (mut content_id, mut parent_id, mut parent_path) = (None, NO_PARENT, None);
    let mut extents = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some((key, value)) = line.split_once('=').filter(|(key, _)| !key.contains('"')) {
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "cid" => content_id = Some(hexadecimal(value)?),
                "parentcid" => parent_id = hexadecimal(value)?,
                "parentfilenamehint" => parent_path = Some(value.to_owned()),
                _ => {}
            }
        } else if let Some(extent) = extent(line)? {
            extents.push(extent);
        }
        if extents.len() > MAX_EXTENTS {
            return Err(unsupported(format!("it has more than {MAX_EXTENTS} extents")));
        }
    }
    let parent = match (parent_id, parent_path) {
        (NO_PARENT, _) => None,
        (content_id, Some(path)) => Some(Parent { content_id, path }),
        (_, None) => return Err(Flaw::Damaged("it rests on a parent that it does not name".to_owned())),
    };
    Ok(Descriptor { content_id, parent, extents })
}

fn hexadecimal(text: &str) -> Result<u32, Flaw> {
    u32::from_str_radix(text, 16).map_err(|_| Flaw::Damaged(format!("its content id is '{}', no hexadecimal number", text.escape_debug())))
}

/// A line like `RW 4192256 SPARSE "disk-s001.vmdk"`; `None` for any other line.
fn extent(line: &str) -> Result<Option<ExtentLine>, Flaw> {
    let (front, file) = match line.split_once('"') {
        Some((front, rest)) => (front, rest.rsplit_once('"')),
        None => (line, None),
    };
    let mut words = front.split_whitespace();
    let access = words.next().unwrap_or_default();
    if !matches!(access, "RW" | "RDONLY" | "NOACCESS") {
        return Ok(None);
    }
    let damaged = || Flaw::Damaged(format!("its extent '{}' makes no sense", line.escape_debug()));
    let sectors: u64 = words.next().and_then(|word| word.parse().ok()).ok_or_else(damaged)?;
    let length_bytes = sectors.checked_mul(512).ok_or_else(damaged)?;
    let (file, behind) = file.unwrap_or_default();
    let layout = match words.next().unwrap_or_default() {
        _ if access == "NOACCESS" => return Err(unsupported(format!("its extent '{}' cannot be read", line.escape_debug()))),
        "ZERO" => Layout::Zero,
        "SPARSE" => Layout::Sparse,
        "FLAT" | "VMFS" => {
            let sector: u64 = if behind.trim().is_empty() { 0 } else { behind.trim().parse().map_err(|_| damaged())? };
            Layout::Flat { offset_bytes: sector.checked_mul(512).ok_or_else(damaged)? }
        }
        kind => return Err(unsupported(format!("its extents are of the kind {}, which is not read", kind.escape_debug()))),
    };
    if layout != Layout::Zero && file.is_empty() {
        return Err(damaged());
    }
    Ok(Some(ExtentLine { length_bytes, layout, file: file.to_owned() }))
}

pub(super) fn unsupported(what: String) -> Flaw {
    Flaw::Unsupported { what, cure: "convert it: qemu-img convert -O qcow2, or clone it with the hypervisor's own tool".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_names_extents_and_parent() {
        let text = b"# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=0000abcd\nparentFileNameHint=\"base disk.vmdk\"\n\
            RW 4192256 SPARSE \"disk = 1-s001.vmdk\"\nRW 100 FLAT \"f.vmdk\" 7\nRDONLY 5 ZERO\nRW 3 VMFS \"v.vmdk\"\nddb.geometry.sectors = \"63\"\n\0junk";
        let descriptor = parse(text).expect("a descriptor");
        assert_eq!(descriptor.content_id, Some(0xffff_fffe));
        assert_eq!(descriptor.parent, Some(Parent { content_id: 0xabcd, path: "base disk.vmdk".to_owned() }));
        let extents: Vec<_> = descriptor.extents.iter().map(|extent| (extent.length_bytes, extent.layout, extent.file.as_str())).collect();
        let expected = [
            (4_192_256 * 512, Layout::Sparse, "disk = 1-s001.vmdk"),
            (51_200, Layout::Flat { offset_bytes: 3584 }, "f.vmdk"),
            (2560, Layout::Zero, ""),
            (1536, Layout::Flat { offset_bytes: 0 }, "v.vmdk"),
        ];
        assert_eq!(extents, expected);
    }

    #[test]
    fn senseless_lines_are_refused() {
        for (line, expected) in [
            ("RW x SPARSE \"a\"", "makes no sense"),
            ("RW 1 SPARSE", "makes no sense"),
            ("RW 36028797018963968 ZERO", "makes no sense"),
            ("RW 1 FLAT \"a\" x", "makes no sense"),
            ("NOACCESS 1 ZERO", "cannot be read"),
            ("RW 1 SESPARSE \"a\"", "of the kind SESPARSE"),
            ("CID=xyz", "no hexadecimal number"),
            ("parentCID=1", "a parent that it does not name"),
            (&"RW 1 ZERO\n".repeat(513), "more than 512 extents"),
        ] {
            let refused = format!("{:?}", parse(line.as_bytes()).expect_err(line));
            assert!(refused.contains(expected), "{line}: {refused}");
        }
    }
}
