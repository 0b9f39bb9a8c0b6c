//! A tree of files as plain data, and how two of them differ.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::guestfs::{DeviceNumber, FileKind, Timestamp};

/// What is compared of an object. Times and `created` are compared where both sides know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guestfs) enum Field {
    Kind,
    Mode,
    Uid,
    Gid,
    /// Link counts of all but directories.
    Links,
    /// Link counts of directories, which some filesystems do not keep.
    DirectoryLinks,
    /// Which other names lead to the same object.
    Names,
    Device,
    /// Bytes of contents of all but directories.
    Size,
    DirectorySize,
    Allocated,
    Modified,
    Changed,
    Accessed,
    Created,
    Attributes,
    Target,
    Content,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::guestfs) struct Item {
    pub(in crate::guestfs) kind: FileKind,
    pub(in crate::guestfs) mode: u16,
    pub(in crate::guestfs) uid: u32,
    pub(in crate::guestfs) gid: u32,
    pub(in crate::guestfs) links: u32,
    /// The first of all paths that lead to the same object.
    pub(in crate::guestfs) first_name: Vec<u8>,
    pub(in crate::guestfs) device: Option<DeviceNumber>,
    pub(in crate::guestfs) size_bytes: u64,
    pub(in crate::guestfs) allocated_bytes: u64,
    pub(in crate::guestfs) modified: Timestamp,
    pub(in crate::guestfs) changed: Option<Timestamp>,
    pub(in crate::guestfs) accessed: Option<Timestamp>,
    pub(in crate::guestfs) created: Option<Timestamp>,
    /// Extended attributes.
    pub(in crate::guestfs) attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of a symbolic link.
    pub(in crate::guestfs) target: Option<Vec<u8>>,
    /// Hash of the contents of a regular file; `None` where it cannot be opened (encrypted).
    pub(in crate::guestfs) content: Option<blake3::Hash>,
}

/// All objects by path, without a slash at the start; the topmost directory has the empty path.
pub(in crate::guestfs) type Tree = BTreeMap<Vec<u8>, Item>;

/// Fills in [`Item::first_name`] from the number of each path's object.
pub(super) fn name_first(tree: &mut Tree, numbers: &BTreeMap<Vec<u8>, u64>) {
    let mut first: BTreeMap<u64, &Vec<u8>> = BTreeMap::new();
    for (path, number) in numbers {
        first.entry(*number).or_insert(path);
    }
    for (path, item) in tree {
        if let Some(name) = numbers.get(path).and_then(|number| first.get(number)) {
            item.first_name = (*name).clone();
        }
    }
}

/// Fails with the first differences, field by field.
pub(in crate::guestfs) fn assert_same(expected: &Tree, found: &Tree, ignoring: &[Field]) {
    let differences = differences(expected, found, ignoring);
    if !differences.is_empty() {
        let mut shown = String::new();
        for difference in differences.iter().take(25) {
            let _ = writeln!(shown, "  {difference}");
        }
        panic!("{} differences between {} objects and {}:\n{shown}", differences.len(), expected.len(), found.len());
    }
}

/// All differences, each a line.
pub(in crate::guestfs) fn differences(expected: &Tree, found: &Tree, ignoring: &[Field]) -> Vec<String> {
    let mut all = Vec::new();
    for (path, item) in expected {
        let name = path.escape_ascii();
        match found.get(path) {
            None => all.push(format!("'{name}' is missing")),
            Some(other) => compare(item, other, &mut |field, left, right| {
                if !ignoring.contains(&field) {
                    all.push(format!("'{name}' ({:?}): {field:?} is {right}, not {left}", item.kind));
                }
            }),
        }
    }
    all.extend(found.keys().filter(|path| !expected.contains_key(*path)).map(|path| format!("'{}' is too much", path.escape_ascii())));
    all
}

fn compare(left: &Item, right: &Item, differ: &mut dyn FnMut(Field, String, String)) {
    let directory = left.kind == FileKind::Directory;
    let mut field = |field, same: bool, values: &dyn Fn() -> (String, String)| {
        if !same {
            let (left, right) = values();
            differ(field, left, right);
        }
    };
    macro_rules! plain {
        ($name:expr, $member:ident) => {
            field($name, left.$member == right.$member, &|| (format!("{:?}", left.$member), format!("{:?}", right.$member)))
        };
    }
    macro_rules! known {
        ($name:expr, $member:ident) => {
            if left.$member.is_some() && right.$member.is_some() {
                plain!($name, $member);
            }
        };
    }
    plain!(Field::Kind, kind);
    plain!(Field::Mode, mode);
    plain!(Field::Uid, uid);
    plain!(Field::Gid, gid);
    plain!(if directory { Field::DirectoryLinks } else { Field::Links }, links);
    field(Field::Names, left.first_name == right.first_name, &|| {
        (left.first_name.escape_ascii().to_string(), right.first_name.escape_ascii().to_string())
    });
    plain!(Field::Device, device);
    plain!(if directory { Field::DirectorySize } else { Field::Size }, size_bytes);
    plain!(Field::Allocated, allocated_bytes);
    plain!(Field::Modified, modified);
    known!(Field::Changed, changed);
    known!(Field::Accessed, accessed);
    known!(Field::Created, created);
    field(Field::Attributes, left.attributes == right.attributes, &|| (attributes(left, right), attributes(right, left)));
    field(Field::Target, left.target == right.target, &|| (text(left.target.as_deref()), text(right.target.as_deref())));
    plain!(Field::Content, content);
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "nothing".to_owned(), |bytes| bytes.escape_ascii().to_string())
}

/// The extended attributes that `other` does not have just so.
fn attributes(item: &Item, other: &Item) -> String {
    let own = item.attributes.iter().filter(|(name, value)| other.attributes.get(*name) != Some(value));
    let shown = own.map(|(name, value)| {
        let head = value.get(..64.min(value.len())).unwrap_or_default();
        format!("{}={} ({} bytes)", name.escape_ascii(), head.escape_ascii(), value.len())
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}
