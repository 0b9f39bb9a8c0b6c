//! exFAT, after Microsoft's "exFAT file system specification" (2019) and what Linux makes of it.
//!
//! A node is the place of a file's first entry in its directory; the topmost directory, which has none, is 0. Sets of entries whose
//! checksum is wrong are shown, as Linux does, and the listing ends with the damage. There are no owners.

mod boot;
mod entry_set;
#[cfg(test)]
mod tests;
mod upcase;

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use super::chain::{Chain, ChainFile, Link, Table};
use super::fields::{byte, le16, le32, le64};
use super::pages::Pages;
use super::utf16::utf16_name;
use super::{About, Attributes, Device, Entry, FileData, FileKind, FileSystem, GuestError, GuestResult, Identity, Node, OpenOptions};
use crate::io::ReadAt;
use boot::Boot;
use entry_set::{Record, SLOT_BYTES};
use upcase::Upcase;

/// The node of the topmost directory: the place of the boot sector.
const ROOT: Node = Node(0);

/// Bytes of a directory that are read at once.
const STEP_BYTES: u64 = 64 << 10;

/// The most bytes of a directory, as the specification has it.
const MOST_DIRECTORY_BYTES: u64 = 256 << 20;

/// The most bytes of a bitmap of used clusters that are counted: enough for 512 TiB in clusters of 1 MiB.
const MOST_BITMAP_BYTES: u64 = 64 << 20;

/// The largest table of capitals: one for each UTF-16 unit.
const MOST_UPCASE_BYTES: u64 = 128 << 10;

const END: u8 = 0x00;
const BITMAP: u8 = 0x81;
const UPCASE: u8 = 0x82;
const LABEL: u8 = 0x83;

/// Says whether a volume holds exFAT.
pub(super) fn identify(device: &dyn ReadAt) -> GuestResult<Option<Identity>> {
    let Some((boot, _)) = boot::read(device)? else { return Ok(None) };
    // The label stands in front of all files; one cluster of the directory is looked at, in part.
    let mut front = vec![0; usize::try_from(boot.clusters.cluster_bytes.min(64 << 10)).unwrap_or(0)];
    let place = boot.clusters.offset(boot.root).unwrap_or(u64::MAX);
    let read = device.read_at(place, &mut front);
    let (slots, _) = front.as_chunks::<SLOT_BYTES>();
    let label = slots.iter().take_while(|slot| byte(*slot, 0) != END).find(|slot| byte(*slot, 0) == LABEL);
    Ok(Some(Identity {
        kind: "exfat",
        label: label.filter(|_| read.is_ok()).and_then(|slot| label_of(slot)),
        uuid: Some(format!("{:04X}-{:04X}", boot.serial >> 16, boot.serial & 0xffff)),
        size_bytes: Some(boot.size_bytes),
        member: None,
    }))
}

fn label_of(slot: &[u8]) -> Option<String> {
    let units = (2..24).step_by(2).map(|at| le16(slot, at)).take(usize::from(byte(slot, 1)));
    String::from_utf8(utf16_name(units)).ok().filter(|label| !label.is_empty())
}

/// Opens a volume of exFAT.
///
/// # Errors
/// The device's; damage where the boot sector is none.
pub(super) fn open(devices: &[Device], options: &OpenOptions) -> GuestResult<Box<dyn FileSystem>> {
    let device = devices.first().ok_or_else(|| GuestError::unsupported("exFAT without a device"))?;
    let (boot, note) = boot::read(device.as_ref())?.ok_or_else(|| GuestError::damaged("the boot sector", "it is none of exFAT"))?;
    let mut notes: Vec<String> = note.into_iter().map(str::to_owned).collect();
    if boot.flags & boot::DIRTY != 0 {
        notes.push("it was not unmounted cleanly".to_owned());
    }
    if boot.flags & boot::FAILED != 0 {
        notes.push("the guest met errors of the disk in it".to_owned());
    }
    let pages = Pages::new(Arc::clone(device), options.cache_bytes);
    let mut fs = Exfat { pages, boot, notes, bitmap: None, capitals: None, upcase: OnceLock::new(), about: OnceLock::new() };
    fs.find_system_entries()?;
    Ok(Box::new(fs))
}

/// Where something lies that is no file: first cluster, bytes, checksum.
#[derive(Clone, Copy)]
struct Allocation {
    first: u32,
    length_bytes: u64,
    checksum: u32,
}

impl Allocation {
    fn of(slot: &[u8]) -> Self {
        Self { first: le32(slot, 20), length_bytes: le64(slot, 24), checksum: le32(slot, 4) }
    }
}

struct Exfat {
    pages: Pages,
    boot: Boot,
    notes: Vec<String>,
    bitmap: Option<Allocation>,
    capitals: Option<Allocation>,
    upcase: OnceLock<Upcase>,
    about: OnceLock<About>,
}

fn object(node: Node) -> String {
    if node == ROOT { "the topmost directory".to_owned() } else { format!("the object with its entry at byte {}", node.0) }
}

impl Exfat {
    /// The bitmap of used clusters and the table of capitals. They stand in front of all files; no more than a step is looked at.
    fn find_system_entries(&mut self) -> GuestResult<()> {
        let root = self.follow(self.boot.root, STEP_BYTES)?;
        let (mut bitmap, mut capitals) = (None, None);
        let walked = self.slots(&root, &mut |_, slot| {
            match byte(slot, 0) {
                BITMAP if byte(slot, 1) & 1 == self.boot.active => bitmap = Some(Allocation::of(slot)),
                UPCASE => capitals = Some(Allocation::of(slot)),
                _ => {}
            }
            if bitmap.is_some() && capitals.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // A topmost directory that cannot be read is told by the one who lists it.
        drop(walked);
        (self.bitmap, self.capitals) = (bitmap, capitals);
        Ok(())
    }

    fn follow(&self, first: u32, most_bytes: u64) -> GuestResult<Chain> {
        let mut table = Table::new(&self.pages, &self.boot.table, self.boot.table_bytes);
        Chain::follow(&self.boot.clusters, first, most_bytes, |cluster| link(&mut table, cluster))
    }

    /// Where the first `most_bytes` of something lie.
    fn chain(&self, record: &Record, most_bytes: u64) -> GuestResult<Chain> {
        match () {
            () if most_bytes == 0 => Ok(Chain::default()),
            () if record.is_contiguous => Ok(Chain::unbroken(&self.boot.clusters, record.first, most_bytes)),
            () => self.follow(record.first, most_bytes),
        }
    }

    /// Calls `visit` with the place and bytes of each entry that was ever used, in use or not.
    fn slots(&self, chain: &Chain, visit: &mut dyn FnMut(u64, &[u8; SLOT_BYTES]) -> ControlFlow<()>) -> GuestResult<()> {
        let mut step = Vec::new();
        for extent in &chain.extents {
            let mut done = 0;
            while done < extent.length_bytes {
                let length = (extent.length_bytes - done).min(STEP_BYTES);
                let start = extent.device_bytes.saturating_add(done);
                step.resize(usize::try_from(length).unwrap_or(0), 0);
                self.pages.read(start, &mut step)?;
                let (slots, _) = step.as_chunks::<SLOT_BYTES>();
                for (place, slot) in (start..).step_by(SLOT_BYTES).zip(slots) {
                    if byte(slot, 0) == END || visit(place, slot).is_break() {
                        return Ok(());
                    }
                }
                done = done.saturating_add(length);
            }
        }
        match &chain.broken {
            Some(problem) => Err(GuestError::damaged("a directory", problem)),
            None => Ok(()),
        }
    }

    /// Where the entries of a directory lie.
    fn directory(&self, node: Node) -> GuestResult<Chain> {
        if node == ROOT {
            return self.follow(self.boot.root, MOST_DIRECTORY_BYTES);
        }
        let record = self.record(node)?;
        if record.kind() != FileKind::Directory {
            return Err(GuestError::WrongKind { object: object(node), expected: "directory" });
        }
        let wanted = record.size_bytes.min(MOST_DIRECTORY_BYTES);
        let mut chain = self.chain(&record, wanted)?;
        if chain.length_bytes < wanted {
            let ends = || format!("its chain ends after {} bytes, {wanted} were expected", chain.length_bytes);
            chain.broken = Some(chain.broken.clone().unwrap_or_else(ends));
        }
        Ok(chain)
    }

    /// Calls `visit` with each file of a directory and the place of its set.
    ///
    /// # Errors
    /// Damage of the chain or of any set, after all that could be read.
    fn records(&self, node: Node, visit: &mut dyn FnMut(u64, Record) -> ControlFlow<()>) -> GuestResult<()> {
        let (mut set, mut wanted, mut start) = (Vec::new(), 0, 0);
        let mut bad = 0_u64;
        self.slots(&self.directory(node)?, &mut |place, slot| {
            if !entry_set::continues(slot) {
                bad = bad.saturating_add(u64::from(!set.is_empty()));
                set.clear();
                let Some(bytes) = entry_set::set_bytes(slot) else { return ControlFlow::Continue(()) };
                (wanted, start) = (bytes, place);
            } else if set.is_empty() {
                return ControlFlow::Continue(());
            }
            set.extend_from_slice(slot);
            if set.len() < wanted {
                return ControlFlow::Continue(());
            }
            let record = Record::parse(&set);
            bad = bad.saturating_add(u64::from(record.is_none() || !entry_set::is_whole(&set)));
            set.clear();
            record.map_or(ControlFlow::Continue(()), |record| visit(start, record))
        })?;
        if bad == 0 {
            return Ok(());
        }
        Err(GuestError::damaged(object(node), format!("{bad} of its files have entries that are incomplete or have a wrong checksum")))
    }

    /// The file whose first entry lies at a node's place. Its set may go on in another cluster.
    fn record(&self, node: Node) -> GuestResult<Record> {
        let missing = || GuestError::NotFound { object: object(node) };
        let clusters = &self.boot.clusters;
        let cluster = clusters.at(node.0).filter(|_| node.0.is_multiple_of(32)).ok_or_else(missing)?;
        let end = clusters.offset(cluster).and_then(|start| start.checked_add(clusters.cluster_bytes)).ok_or_else(missing)?;
        let mut first = [0; SLOT_BYTES];
        self.pages.read(node.0, &mut first)?;
        let wanted = entry_set::set_bytes(&first).ok_or_else(missing)?;
        let here = wanted.min(usize::try_from(end.saturating_sub(node.0)).unwrap_or(usize::MAX));
        let mut set = vec![0; wanted];
        let (head, tail) = set.split_at_mut(here);
        self.pages.read(node.0, head)?;
        if !tail.is_empty() {
            self.read_tail(cluster, &first, head, tail)?;
        }
        Record::parse(&set).ok_or_else(|| GuestError::damaged(object(node), "its entries are incomplete"))
    }

    /// The rest of a set in the cluster that follows: the next one by the table or, in a directory without a chain, by number. Which
    /// of both it is tells the checksum.
    fn read_tail(&self, cluster: u32, first: &[u8], head: &[u8], tail: &mut [u8]) -> GuestResult<()> {
        let mut table = Table::new(&self.pages, &self.boot.table, self.boot.table_bytes);
        let by_table = match link(&mut table, cluster)? {
            Link::Next(next) => Some(next),
            _ => None,
        };
        for next in by_table.into_iter().chain(cluster.checked_add(1)).chain(by_table) {
            let Some(place) = self.boot.clusters.offset(next) else { continue };
            self.pages.read(place, tail)?;
            if entry_set::checksum(&[head, tail].concat()) == le16(first, 2) {
                break;
            }
        }
        Ok(())
    }

    fn upcase(&self) -> &Upcase {
        self.upcase.get_or_init(|| {
            let table = self.capitals.and_then(|table| self.read_whole(table, MOST_UPCASE_BYTES).map(|bytes| (bytes, table.checksum)));
            table.map_or_else(|| Upcase::new(&[], 0), |(bytes, checksum)| Upcase::new(&bytes, checksum))
        })
    }

    /// What is in clusters that belong to no file.
    fn read_whole(&self, what: Allocation, most_bytes: u64) -> Option<Vec<u8>> {
        let length = Some(what.length_bytes).filter(|length| *length <= most_bytes)?;
        let chain = self.follow(what.first, length).ok()?;
        let file = ChainFile::new(String::new(), Arc::clone(self.pages.device()), chain, length, length).ok()?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        file.read_at(0, &mut bytes).ok()?;
        Some(bytes)
    }

    fn used_clusters(&self) -> Option<u64> {
        let bitmap = self.read_whole(self.bitmap?, MOST_BITMAP_BYTES)?;
        let count = usize::try_from(self.boot.clusters.count).ok()?;
        let whole: u64 = bitmap.iter().take(count / 8).map(|byte| u64::from(byte.count_ones())).sum();
        let rest = bitmap.get(count / 8).map_or(0, |byte| (byte & ((1 << (count % 8)) - 1)).count_ones());
        (bitmap.len() >= count.div_ceil(8)).then(|| whole.saturating_add(u64::from(rest)))
    }

    /// Bytes of all clusters.
    fn capacity_bytes(&self) -> u64 {
        u64::from(self.boot.clusters.count).saturating_mul(self.boot.clusters.cluster_bytes)
    }

    fn describe(&self) -> About {
        let clusters = &self.boot.clusters;
        About {
            block_bytes: u32::try_from(clusters.cluster_bytes).unwrap_or(u32::MAX),
            size_bytes: self.capacity_bytes(),
            used_bytes: self.used_clusters().map(|used| used.saturating_mul(clusters.cluster_bytes)),
            notes: self.notes.clone(),
        }
    }
}

/// What follows a cluster.
fn link(table: &mut Table<'_>, cluster: u32) -> GuestResult<Link> {
    let bytes = table.around(u64::from(cluster).saturating_mul(4))?;
    Ok(match le32(bytes, 0) {
        0 => Link::Free,
        0xffff_fff7 => Link::Bad,
        0xffff_fff8.. => Link::End,
        next => Link::Next(next),
    })
}

impl FileSystem for Exfat {
    fn about(&self) -> &About {
        self.about.get_or_init(|| self.describe())
    }

    fn root(&self) -> Node {
        ROOT
    }

    fn attributes(&self, node: Node) -> GuestResult<Attributes> {
        if node == ROOT {
            let length = self.directory(node)?.length_bytes;
            return Ok(Attributes::of_root(length));
        }
        let record = self.record(node)?;
        Ok(record.attributes(if record.first == 0 { 0 } else { self.boot.clusters.rounded(record.size_bytes) }))
    }

    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        self.records(directory, &mut |place, record| visit(Entry { name: record.name(), node: Node(place), kind: Some(record.kind()) }))
    }

    /// As systems do it: case does not count, by the volume's own table of capitals.
    fn lookup(&self, directory: Node, name: &[u8]) -> GuestResult<Option<Node>> {
        let wanted: Vec<u16> = String::from_utf8_lossy(name).encode_utf16().collect();
        let (mut exact, mut near) = (None, None);
        let walked = self.records(directory, &mut |place, record| {
            if record.name() == name {
                exact = Some(Node(place));
                return ControlFlow::Break(());
            }
            if near.is_none() && self.upcase().same(&record.name, &wanted) {
                near = Some(Node(place));
            }
            ControlFlow::Continue(())
        });
        match exact.or(near) {
            Some(node) => Ok(Some(node)),
            None => walked.map(|()| None),
        }
    }

    fn link_target(&self, node: Node) -> GuestResult<Vec<u8>> {
        Err(GuestError::WrongKind { object: object(node), expected: "symbolic link" })
    }

    /// `system.fat_attrib`: read-only 1, hidden 2, system 4, directory 16, archive 32, as in `FAT_IOCTL_GET_ATTRIBUTES` (32 bits,
    /// little-endian).
    fn extended_attributes(&self, node: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        if node == ROOT {
            return Ok(Vec::new());
        }
        let flags = u32::from(self.record(node)?.flags);
        Ok(vec![(b"system.fat_attrib".to_vec(), flags.to_le_bytes().to_vec())])
    }

    fn open(&self, node: Node) -> GuestResult<Arc<dyn FileData>> {
        let wrong = || GuestError::WrongKind { object: object(node), expected: "regular file" };
        if node == ROOT {
            return Err(wrong());
        }
        let record = self.record(node)?;
        if record.kind() != FileKind::Regular {
            return Err(wrong());
        }
        // Every byte of a file has its place, written or not: what does not fit is no size.
        if record.size_bytes > self.capacity_bytes() {
            return Err(GuestError::damaged(object(node), format!("{} bytes, more than the volume has", record.size_bytes)));
        }
        let valid = record.valid_bytes.min(record.size_bytes);
        let chain = self.chain(&record, valid)?;
        Ok(Arc::new(ChainFile::new(object(node), Arc::clone(self.pages.device()), chain, record.size_bytes, valid)?))
    }
}
