//! Segment files: written whole and durable, mapped, merged in tiers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::crypt::random;
use crate::format::segment::{SegmentEntry, SegmentHead, SegmentLayout, SegmentView};
use crate::io::{DurableFile, map_file};
use crate::store::StoreError;
use crate::units::{Address, Fingerprint, PackId, SegmentId};

/// A mapped segment and what of it may be used.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    map: Mmap,
    layout: SegmentLayout,
    packs: Vec<PackId>,
    /// For each pack of the table: whether new points may refer to it.
    usable: Vec<bool>,
}

fn index_error(path: &Path) -> impl Fn(std::io::Error) -> StoreError {
    move |source| StoreError::Index { path: path.to_owned(), source }
}

impl Segment {
    /// Maps a segment; `Ok(None)` where the file is none: then it is as if it were not there.
    pub(crate) fn open(path: &Path, usable: impl Fn(&PackId) -> bool) -> Result<Option<Self>, StoreError> {
        let file = match File::open(path) {
            Ok(file) => file,
            // Another process merged it away since the directory was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(index_error(path)(error)),
        };
        if file.metadata().map_err(index_error(path))?.len() == 0 {
            return Ok(None);
        }
        let map = map_file(&file).map_err(index_error(path))?;
        let Ok(view) = SegmentView::parse(&map) else { return Ok(None) };
        let (layout, packs) = (view.layout(), view.packs().collect::<Vec<PackId>>());
        let usable = packs.iter().map(usable).collect();
        Ok(Some(Self { path: path.to_owned(), map, layout, packs, usable }))
    }

    /// The packs whose blocks the segment knows.
    pub(crate) fn packs(&self) -> &[PackId] {
        &self.packs
    }

    /// Entries.
    pub(crate) fn len(&self) -> u64 {
        self.view().map_or(0, |view| view.len())
    }

    fn view(&self) -> Option<SegmentView<'_>> {
        SegmentView::with_layout(&self.map, self.layout).ok()
    }

    /// Where the segment says that a block is, if new points may refer to its pack.
    pub(crate) fn find(&self, fingerprint: &Fingerprint) -> Option<Address> {
        let entry = self.view()?.find(fingerprint)?;
        let pack = entry.pack as usize;
        let id = self.packs.get(pack)?;
        self.usable.get(pack)?.then_some(Address { pack: *id, slot: entry.slot })
    }
}

/// Writes a segment of sorted entries. The entries are walked twice, so that no memory grows with them but the filter.
pub(crate) fn write<I>(directory: &Path, packs: &[PackId], count: u32, entries: impl Fn() -> I) -> Result<SegmentId, StoreError>
where
    I: Iterator<Item = SegmentEntry>,
{
    let id = SegmentId(random()?);
    let path = directory.join(id.to_string());
    let fail = index_error(&path);
    let mut head = SegmentHead::new(count, packs.len() as u32);
    entries().for_each(|entry| head.add(&entry));
    let head = head.encode(packs).map_err(|error| fail(std::io::Error::other(error)))?;
    let mut file = DurableFile::create(&path).map_err(&fail)?;
    let mut out = BufWriter::with_capacity(1 << 20, file.file());
    out.write_all(&head).map_err(&fail)?;
    let mut bytes = Vec::with_capacity(32);
    for entry in entries() {
        bytes.clear();
        entry.encode_to(&mut bytes);
        out.write_all(&bytes).map_err(&fail)?;
    }
    out.flush().map_err(&fail)?;
    drop(out);
    if file.finish().map_err(&fail)? { Ok(id) } else { Err(StoreError::Taken { name: path.display().to_string() }) }
}

/// Merges segments into one that keeps only packs for which `keep` says so, then removes them. `None`: nothing was left.
///
/// Of several entries of one fingerprint one stays. A crash in between leaves both the old segments and the new one, which is
/// legal: they say the same.
pub(crate) fn merge(directory: &Path, parts: &[&Segment], keep: impl Fn(&PackId) -> bool) -> Result<Option<SegmentId>, StoreError> {
    let mut numbers: HashMap<PackId, u32> = HashMap::new();
    let mut packs = Vec::new();
    let renumber: Vec<Vec<Option<u32>>> = parts
        .iter()
        .map(|part| {
            let number = |id: &PackId| {
                keep(id).then(|| {
                    *numbers.entry(*id).or_insert_with(|| {
                        packs.push(*id);
                        packs.len() as u32 - 1
                    })
                })
            };
            part.packs.iter().map(number).collect()
        })
        .collect();
    let views: Vec<SegmentView<'_>> = parts.iter().filter_map(|part| part.view()).collect();
    let count = u32::try_from(Merged::new(&views, &renumber).count()).unwrap_or(u32::MAX);
    let merged = match count {
        0 => None,
        u32::MAX => return Ok(None),
        count => Some(write(directory, &packs, count, || Merged::new(&views, &renumber))?),
    };
    for part in parts {
        match fs::remove_file(&part.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(index_error(&part.path)(error)),
            _ => {}
        }
    }
    Ok(merged)
}

/// The entries of several segments in one order, without repetition.
struct Merged<'a> {
    views: &'a [SegmentView<'a>],
    renumber: &'a [Vec<Option<u32>>],
    /// Next entry of each segment, its segment, and its place in it.
    heads: BinaryHeap<Reverse<(SegmentEntry, usize, u64)>>,
    last: Option<Fingerprint>,
}

impl<'a> Merged<'a> {
    fn new(views: &'a [SegmentView<'a>], renumber: &'a [Vec<Option<u32>>]) -> Self {
        let mut merged = Self { views, renumber, heads: BinaryHeap::new(), last: None };
        for part in 0..views.len() {
            merged.refill(part, 0);
        }
        merged
    }

    fn refill(&mut self, part: usize, place: u64) {
        if let Some(entry) = self.views.get(part).and_then(|view| view.entry(place)) {
            self.heads.push(Reverse((entry, part, place)));
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = SegmentEntry;

    fn next(&mut self) -> Option<SegmentEntry> {
        loop {
            let Reverse((entry, part, place)) = self.heads.pop()?;
            self.refill(part, place + 1);
            let pack = self.renumber.get(part).and_then(|numbers| numbers.get(entry.pack as usize)).copied().flatten();
            let Some(pack) = pack else { continue };
            if self.last != Some(entry.fingerprint) {
                self.last = Some(entry.fingerprint);
                return Some(SegmentEntry { pack, ..entry });
            }
        }
    }
}
