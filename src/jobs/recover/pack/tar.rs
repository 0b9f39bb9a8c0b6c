//! tar as POSIX 2001 has it, with the records that GNU tar and others read: extended attributes (`SCHILY.xattr.`) and sparse files (GNU
//! format 1.0, <https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html>).

use std::io::{self, Write};
use std::ops::Range;

use tar::{EntryType, Header};

use super::output::Compressed;
use super::pax::{Records, time};
use super::{Archive, Failure, Item, Telling, acl, sparse, write_range, write_zeros};
use crate::guestfs::{FileData, FileKind, Timestamp};

/// Bytes of a block.
const BLOCK: u64 = 512;
/// Bytes of a name or a link's target in the old header.
const FIELD: usize = 100;
/// The largest numbers that the old header's fields of 8 and 12 bytes hold.
const LARGEST_ID: u64 = 0o7_777_777;
const LARGEST: u64 = 0o77_777_777_777;

/// An archive under way.
pub(super) struct Tar<W: Write> {
    output: Compressed<W>,
}

impl<W: Write> Tar<W> {
    pub(super) fn new(output: Compressed<W>) -> Self {
        Self { output }
    }

    /// What comes before the contents of an item: the records that it needs, and its header.
    fn head(&mut self, item: &Item<'_>, head: Head<'_>, telling: &mut Telling<'_>) -> io::Result<()> {
        let mut records = head.records;
        let known = item.known;
        let mut header = Header::new_ustar();
        header.set_entry_type(head.kind);
        header.set_mode(u32::from(known.mode));
        header.set_size(head.size_bytes.min(LARGEST));
        if head.size_bytes > LARGEST {
            records.add_number("size", head.size_bytes);
        }
        header.set_uid(u64::from(known.uid).min(LARGEST_ID));
        header.set_gid(u64::from(known.gid).min(LARGEST_ID));
        for (key, id) in [("uid", known.uid), ("gid", known.gid)].into_iter().filter(|(_, id)| u64::from(*id) > LARGEST_ID) {
            records.add_number(key, u64::from(id));
        }
        let Timestamp { seconds, nanoseconds } = known.modified;
        let plain = u64::try_from(seconds).unwrap_or(0).min(LARGEST);
        header.set_mtime(plain);
        if i64::try_from(plain) != Ok(seconds) || nanoseconds != 0 {
            records.add(b"mtime", time(known.modified).as_bytes());
        }
        for (name, value) in item.extended {
            if name.contains(&b'=') {
                telling.lose("extended attributes with '=' in their names");
            } else {
                records.add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
            }
            if let Some((key, text)) = acl::record(name, value) {
                records.add(key, text.as_bytes());
            }
        }
        // Bytes that are no UTF-8 stand in the records as they are: GNU tar takes them so, and knows no record that says so.
        let mut put = |field: &mut [u8; FIELD], key: &[u8], text: &[u8]| {
            let length = text.len().min(FIELD);
            field[..length].copy_from_slice(&text[..length]);
            if text.len() > FIELD {
                records.add(key, text);
            }
        };
        if let Some(fields) = header.as_ustar_mut() {
            put(&mut fields.name, b"path", head.name);
            put(&mut fields.linkname, b"linkpath", head.target);
        }
        if let Some(device) = known.device {
            header.set_device_major(device.major)?;
            header.set_device_minor(device.minor)?;
        }
        self.records(&records, known.modified)?;
        header.set_cksum();
        self.output.write_all(header.as_bytes())
    }

    fn records(&mut self, records: &Records, modified: Timestamp) -> io::Result<()> {
        let bytes = records.bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_path("PaxHeaders/0")?;
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(u64::try_from(modified.seconds).unwrap_or(0).min(LARGEST));
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.output.write_all(header.as_bytes())?;
        self.output.write_all(bytes)?;
        self.pad(bytes.len() as u64)
    }

    /// Fills up the last block of so many bytes.
    fn pad(&mut self, bytes: u64) -> io::Result<()> {
        write_zeros(&mut self.output, bytes.next_multiple_of(BLOCK) - bytes)
    }

    fn sparse(
        &mut self,
        item: &Item<'_>,
        data: &dyn FileData,
        mut ranges: Vec<Range<u64>>,
        telling: &mut Telling<'_>,
    ) -> Result<(), Failure> {
        let size_bytes = data.size_bytes();
        // A hole at the end is told by an empty range there.
        if ranges.last().is_none_or(|last| last.end < size_bytes) {
            ranges.push(size_bytes..size_bytes);
        }
        let mut map = format!("{}\n", ranges.len());
        for range in &ranges {
            map.push_str(&format!("{}\n{}\n", range.start, range.end - range.start));
        }
        let map_bytes = (map.len() as u64).next_multiple_of(BLOCK);
        let data_bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let mut records = Records::default();
        records.add(b"GNU.sparse.major", b"1");
        records.add(b"GNU.sparse.minor", b"0");
        records.add(b"GNU.sparse.name", item.name);
        records.add_number("GNU.sparse.realsize", size_bytes);
        // The name that a program sees which does not know of sparse files, and then gets the map with the data.
        let last = item.name.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let name = [b"GNUSparseFile.0/", last].concat();
        let head = Head { kind: EntryType::Regular, size_bytes: map_bytes + data_bytes, name: &name, target: b"", records };
        self.head(item, head, telling)?;
        self.output.write_all(map.as_bytes())?;
        self.pad(map.len() as u64)?;
        for range in ranges {
            write_range(&mut self.output, data, item, range, telling)?;
        }
        Ok(self.pad(data_bytes)?)
    }
}

/// What a header says besides what is known of the file.
struct Head<'a> {
    kind: EntryType,
    size_bytes: u64,
    name: &'a [u8],
    target: &'a [u8],
    records: Records,
}

impl<'a> Head<'a> {
    fn of(kind: EntryType, name: &'a [u8]) -> Self {
        Self { kind, size_bytes: 0, name, target: b"", records: Records::default() }
    }
}

impl<W: Write> Archive for Tar<W> {
    fn directory(&mut self, item: &Item<'_>, telling: &mut Telling<'_>) -> Result<(), Failure> {
        let name = if item.name.is_empty() { b"./".to_vec() } else { [item.name, b"/"].concat() };
        Ok(self.head(item, Head::of(EntryType::Directory, &name), telling)?)
    }

    fn link(&mut self, item: &Item<'_>, target: &[u8], telling: &mut Telling<'_>) -> Result<(), Failure> {
        Ok(self.head(item, Head { target, ..Head::of(EntryType::Symlink, item.name) }, telling)?)
    }

    fn hard_link(&mut self, item: &Item<'_>, first: &[u8], telling: &mut Telling<'_>) -> Result<bool, Failure> {
        self.head(item, Head { target: first, ..Head::of(EntryType::Link, item.name) }, telling)?;
        Ok(true)
    }

    fn special(&mut self, item: &Item<'_>, telling: &mut Telling<'_>) -> Result<bool, Failure> {
        let kind = match item.known.kind {
            FileKind::Pipe => EntryType::Fifo,
            FileKind::CharacterDevice => EntryType::Char,
            _ => EntryType::Block,
        };
        let is_too_large = |number: u32| u64::from(number) > LARGEST_ID;
        if item.known.device.is_some_and(|device| is_too_large(device.major) || is_too_large(device.minor)) {
            return Ok(false);
        }
        self.head(item, Head::of(kind, item.name), telling)?;
        Ok(true)
    }

    fn file(&mut self, item: &Item<'_>, data: &dyn FileData, telling: &mut Telling<'_>) -> Result<(), Failure> {
        let ranges = sparse::ranges(data).map_err(|error| Failure::Source(error.to_string()))?;
        if let Some(ranges) = ranges {
            return self.sparse(item, data, ranges, telling);
        }
        let size_bytes = data.size_bytes();
        self.head(item, Head { size_bytes, ..Head::of(EntryType::Regular, item.name) }, telling)?;
        write_range(&mut self.output, data, item, 0..size_bytes, telling)?;
        Ok(self.pad(size_bytes)?)
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        write_zeros(&mut self.output, 2 * BLOCK)?;
        self.output.finish()
    }
}
