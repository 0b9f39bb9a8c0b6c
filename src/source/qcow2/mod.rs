//! qcow2 images: two levels of tables that say for each cluster of the disk where it lies.
//!
//! Read: versions 2 and 3, clusters compressed by zlib or zstd, backing files, external data files, extended L2 entries, zero clusters.
//! Internal snapshots are other tables over the same file and are not looked at. Reference counts are for writers and are not
//! read, so that an image that was not closed cleanly ("dirty") reads as it is.
//! Layout: docs/interop/qcow2.rst of QEMU.

mod header;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "tests count in small numbers")]
mod tests;

use std::path::PathBuf;

use super::chain::{Lineage, resolve};
use super::fields::split;
use super::host::HostFile;
use super::mapped::{BlockMap, Packed, Parts, Place, Run};
use super::pages::Pages;
use super::unpack::unpack;
use super::{Format, SourceError};
use header::Header;

/// Offset bits of an L1 entry and of an L2 entry of a cluster that is not compressed.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// The cluster is referred to once; with an external data file it tells a cluster at offset 0 from none.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros, whether it has a place or not.
const ZERO: u64 = 1;
/// Parts of a cluster with extended L2 entries.
const SUBCLUSTERS: u64 = 32;

/// The tables of an image.
#[derive(Debug)]
pub(super) struct Qcow2Map {
    header: Header,
    path: PathBuf,
    pages: Pages,
}

/// Opens an image with what it rests on.
pub(super) fn open(host: HostFile, lineage: &Lineage) -> Result<Parts<Qcow2Map>, SourceError> {
    let path = host.path().to_owned();
    let flaw = |flaw: super::fields::Flaw| flaw.of(&path, Format::Qcow2.name());
    let cluster_bytes = header::cluster_bytes(&start(&host, 72)?).map_err(flaw)?;
    let header = header::parse(&start(&host, cluster_bytes)?, host.size_bytes()).map_err(flaw)?;
    if header.size_bytes == 0 {
        return Err(SourceError::Empty { path });
    }
    let below = match &header.backing {
        Some(backing) => {
            let below = resolve(&path, &backing.name).map_err(flaw)?;
            Some(lineage.open_below(&host, Format::Qcow2, &below, backing.format)?)
        }
        None => None,
    };
    let mut files = vec![host];
    if let (Some(name), Some(host)) = (&header.data_file, files.first()) {
        let name = name.as_ref().ok_or_else(|| SourceError::Unsupported {
            path: path.clone(),
            format: Format::Qcow2.name(),
            what: "its data lie in another file, whose name it does not tell".to_owned(),
            cure: "name it in the image (qemu-img amend -o data_file=...), or back up that file itself as raw".to_owned(),
        })?;
        let part = lineage.open_part(host, Format::Qcow2, &resolve(&path, name).map_err(flaw)?)?;
        files.push(part);
    }
    let size_bytes = header.size_bytes;
    Ok(Parts { format: Format::Qcow2, files, map: Qcow2Map { header, path, pages: Pages::new() }, size_bytes, below })
}

/// The first `length_bytes` of the image, or as many as it has.
fn start(host: &HostFile, length_bytes: u64) -> Result<Vec<u8>, SourceError> {
    let mut start = vec![0; usize::try_from(host.size_bytes().min(length_bytes)).unwrap_or(0)];
    host.read(0, &mut start)?;
    Ok(start)
}

impl BlockMap for Qcow2Map {
    fn run_at(&self, files: &[HostFile], offset_bytes: u64, limit_bytes: u64) -> Result<Run, SourceError> {
        let span = self.header.l2_span_bytes();
        let (l1_index, within_table) = split(offset_bytes, span);
        let l1_at = self.header.l1_offset_bytes.saturating_add(l1_index.saturating_mul(8));
        let table = self.entry(files, l1_at)? & OFFSET_MASK;
        let table_rest = span.saturating_sub(within_table);
        if table == 0 {
            return Ok(Run { length_bytes: table_rest, place: Place::Below });
        }
        if !table.is_multiple_of(self.header.cluster_bytes) {
            return Err(self.damaged(format!("entry {l1_index} of its L1 table leads to {table}, which is no start of a cluster")));
        }
        let (first, within) = split(within_table, self.header.cluster_bytes);
        let entry_bytes = self.header.l2_entry_bytes();
        let l2_at = table.saturating_add(first.saturating_mul(entry_bytes));
        let page = self.pages.from(self.host(files)?, l2_at, |_, _| {})?;
        let entries = page.bytes().chunks_exact(usize::try_from(entry_bytes).unwrap_or(usize::MAX));
        let mut offset = offset_bytes;
        let mut within = within;
        let mut run: Option<Run> = None;
        for entry in entries {
            let found = run.as_ref().map_or(0, |run| run.length_bytes);
            if found >= limit_bytes.min(table_rest) {
                break;
            }
            if !self.extend(&mut run, entry, &mut offset, within)? {
                break;
            }
            within = 0;
        }
        let run = run.ok_or_else(|| self.damaged(format!("an L2 table leads to {table}, past the end of the file")))?;
        Ok(Run { length_bytes: run.length_bytes.min(table_rest), ..run })
    }

    fn unpack(&self, files: &[HostFile], packed: Packed, cluster: &mut [u8]) -> Result<(), SourceError> {
        let host = self.host(files)?;
        // The stored length is counted in sectors, and the file may end inside the last one.
        let there = host.size_bytes().saturating_sub(packed.offset_bytes).min(packed.stored_bytes);
        let mut stored = vec![0; usize::try_from(there).unwrap_or(0)];
        host.read(packed.offset_bytes, &mut stored)?;
        unpack(self.header.packing, &stored, cluster, cluster.len()).map_err(|what| {
            let (at, place) = (packed.start_bytes, packed.offset_bytes);
            self.damaged(format!("the compressed cluster of the disk's offset {at}, at {place} of the file, cannot be decoded: {what}"))
        })
    }

    /// Writers end the file with the last sector that they wrote, inside the last cluster.
    fn slack_bytes(&self, file_bytes: u64) -> u64 {
        file_bytes.checked_next_multiple_of(self.header.cluster_bytes).map_or(0, |end| end.saturating_sub(file_bytes))
    }
}

impl Qcow2Map {
    fn host<'a>(&self, files: &'a [HostFile]) -> Result<&'a HostFile, SourceError> {
        files.first().ok_or_else(|| self.damaged("it has no file".to_owned()))
    }

    fn damaged(&self, what: String) -> SourceError {
        SourceError::Damaged { path: self.path.clone(), format: Format::Qcow2.name(), what }
    }

    /// The number at `at` of the file.
    fn entry(&self, files: &[HostFile], at: u64) -> Result<u64, SourceError> {
        let page = self.pages.from(self.host(files)?, at, |_, _| {})?;
        let bytes =
            page.bytes().first_chunk().ok_or_else(|| self.damaged(format!("a table entry at {at} lies past the end of the file")))?;
        Ok(u64::from_be_bytes(*bytes))
    }

    /// Adds the pieces of one cluster, from `within` on, to the run while they continue it; false where one does not.
    fn extend(&self, run: &mut Option<Run>, entry: &[u8], offset: &mut u64, within: u64) -> Result<bool, SourceError> {
        let mut within = within;
        while within < self.header.cluster_bytes {
            let piece = self.piece(entry, *offset, within)?;
            let continues = match run {
                None => run.insert(piece).length_bytes > 0,
                Some(run) => run.extend(&piece),
            };
            if !continues {
                return Ok(false);
            }
            *offset = offset.saturating_add(piece.length_bytes);
            within = within.saturating_add(piece.length_bytes);
        }
        Ok(true)
    }

    /// What an L2 entry says of the disk's `offset`, `within` bytes into the entry's cluster.
    fn piece(&self, entry: &[u8], offset: u64, within: u64) -> Result<Run, SourceError> {
        let number = |at: usize| entry.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let (entry, parts) = (number(0), number(8));
        let rest = self.header.cluster_bytes.saturating_sub(within);
        if entry & COMPRESSED != 0 {
            return Ok(Run { length_bytes: rest, place: self.packed(entry, offset.saturating_sub(within))? });
        }
        let place = self.stored(entry, offset, within)?;
        if self.header.extended_l2 {
            return self.subclusters(parts, place, offset, within);
        }
        let place = match place {
            _ if entry & ZERO != 0 && self.header.version < 3 => {
                return Err(self.damaged(format!("the cluster of the disk's offset {offset} is marked as zeros, which version 2 has not")));
            }
            _ if entry & ZERO != 0 => Place::Zero,
            Some(stored) => stored,
            None => Place::Below,
        };
        Ok(Run { length_bytes: rest, place })
    }

    /// The place of a cluster that is not compressed, `within` bytes into it, where it has one.
    fn stored(&self, entry: u64, offset: u64, within: u64) -> Result<Option<Place>, SourceError> {
        let cluster = entry & OFFSET_MASK;
        let external = self.header.data_file.is_some();
        if cluster == 0 && !(external && entry & COPIED != 0) {
            return Ok(None);
        }
        if !cluster.is_multiple_of(self.header.cluster_bytes) {
            return Err(self.damaged(format!("the disk's offset {offset} lies at {cluster} of the file, which is no start of a cluster")));
        }
        Ok(Some(Place::Stored { file: usize::from(external), offset_bytes: cluster.saturating_add(within) }))
    }

    /// The place of a compressed cluster: its offset and length in one number, divided by the size of clusters.
    fn packed(&self, entry: u64, start: u64) -> Result<Place, SourceError> {
        if self.header.data_file.is_some() {
            return Err(self.damaged(format!("the cluster of the disk's offset {start} is compressed, but lies in a raw data file")));
        }
        // The width of the length, in sectors less one, is that of a cluster's offset less 8 bits; both fit in 62 bits.
        let length_bits = self.header.cluster_bytes.trailing_zeros().saturating_sub(8);
        let offset_bits = 62_u32.saturating_sub(length_bits);
        let mask = |bits: u32| 1_u64.checked_shl(bits).unwrap_or(0).saturating_sub(1);
        let offset_bytes = entry & mask(offset_bits);
        let sectors = (entry.checked_shr(offset_bits).unwrap_or(0) & mask(length_bits)).saturating_add(1);
        let (_, within_sector) = split(offset_bytes, 512);
        Ok(Place::Packed(Packed {
            start_bytes: start,
            length_bytes: usize::try_from(self.header.cluster_bytes).unwrap_or(0),
            file: 0,
            offset_bytes,
            stored_bytes: sectors.saturating_mul(512).saturating_sub(within_sector),
        }))
    }

    /// The part of a cluster with extended entries from `within` on whose parts have one state. The lower half of the bitmap tells
    /// the parts that are stored, the upper half those that read as zeros.
    fn subclusters(&self, bitmap: u64, place: Option<Place>, offset: u64, within: u64) -> Result<Run, SourceError> {
        let part_bytes = self.header.cluster_bytes.checked_div(SUBCLUSTERS).unwrap_or(1);
        let (part, _) = split(within, part_bytes);
        let state = |part: u64| {
            let bit = |at: u64| bitmap.checked_shr(u32::try_from(at).unwrap_or(0)).unwrap_or(0) & 1 != 0;
            (bit(part), bit(part.saturating_add(SUBCLUSTERS)))
        };
        let found = state(part);
        let place = match (found, place) {
            ((true, true), _) => return Err(self.damaged(format!("the disk's offset {offset} is marked as stored and as zeros"))),
            ((true, false), None) => return Err(self.damaged(format!("the disk's offset {offset} is marked as stored, but has no place"))),
            ((true, false), Some(stored)) => stored,
            ((false, true), _) => Place::Zero,
            ((false, false), _) => Place::Below,
        };
        let end = (part.saturating_add(1)..SUBCLUSTERS).find(|&next| state(next) != found).unwrap_or(SUBCLUSTERS);
        Ok(Run { length_bytes: end.saturating_mul(part_bytes).saturating_sub(within), place })
    }
}
