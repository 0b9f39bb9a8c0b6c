//! The arithmetic of runs: which blocks of a chunk a range of bytes needs, and where data ends.

use std::ops::Range;

use super::ImageRun;
use crate::format::map::{ChunkEntry, Run};
use crate::units::{BLOCK_BYTES, Extent};

/// Blocks of a chunk that are stored.
pub(super) fn data_blocks(entry: &ChunkEntry) -> u64 {
    let ChunkEntry::Data { runs, .. } = entry else { return 0 };
    runs.iter().filter(|run| !is_zero(run)).map(|run| u64::from(run.blocks())).sum()
}

fn is_zero(run: &Run) -> bool {
    matches!(run, Run::Zero { .. })
}

/// The runs of some of a chunk's blocks.
pub(super) fn cut(runs: &[Run], blocks: Range<usize>) -> Vec<Run> {
    let mut found = Vec::with_capacity(2);
    let mut at = 0;
    for run in runs {
        let end = at + usize::from(run.blocks());
        let (from, to) = (blocks.start.max(at), blocks.end.min(end));
        if from < to {
            // Both within a run of at most 64 blocks, so the casts cannot cut.
            let (skip, blocks) = ((from - at) as u32, (to - from) as u16);
            found.push(match *run {
                Run::Zero { .. } => Run::Zero { blocks },
                Run::Blocks { mut address, .. } => {
                    address.slot = address.slot.saturating_add(skip);
                    Run::Blocks { address, blocks }
                }
            });
        }
        at = end;
    }
    found
}

/// Fills `buffer` from byte `start` of a chunk: `read` is asked for whole blocks, straight into the buffer where the range has them, and
/// beside it for the blocks that it begins or ends within.
pub(super) fn read_range<E>(
    runs: &[Run],
    start: usize,
    buffer: &mut [u8],
    read: impl Fn(&[Run], &mut [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let end = start + buffer.len();
    let mut at = start;
    let mut rest = buffer;
    while at < end {
        let block = at / BLOCK_BYTES;
        let skip = at % BLOCK_BYTES;
        let whole = (end - at) / BLOCK_BYTES;
        let length = if skip == 0 && whole > 0 { whole * BLOCK_BYTES } else { (BLOCK_BYTES - skip).min(end - at) };
        let (part, after) = std::mem::take(&mut rest).split_at_mut(length);
        if skip == 0 && whole > 0 {
            read(&cut(runs, block..block + whole), part)?;
        } else {
            let mut aside = [0; BLOCK_BYTES];
            read(&cut(runs, block..block + 1), &mut aside)?;
            part.copy_from_slice(&aside[skip..skip + length]);
        }
        at += length;
        rest = after;
    }
    Ok(())
}

/// Adds what decides some bytes of a chunk: for each stored block its address and which of its bytes are meant, for zeros how many.
pub(super) fn add_identity(entry: &ChunkEntry, bytes: Range<usize>, hasher: &mut blake3::Hasher) {
    let mut at = bytes.start;
    while at < bytes.end {
        let block = at / BLOCK_BYTES;
        let end = ((block + 1) * BLOCK_BYTES).min(bytes.end);
        let run = match entry {
            ChunkEntry::Data { runs, .. } => cut(runs, block..block + 1).into_iter().next(),
            ChunkEntry::Hole | ChunkEntry::Zero | ChunkEntry::Free => None,
        };
        if let Some(Run::Blocks { address, .. }) = run {
            hasher.update(address.pack.as_bytes());
            hasher.update(&address.slot.to_le_bytes());
            hasher.update(&[1]);
        } else {
            hasher.update(&[0]);
        }
        hasher.update(&((at % BLOCK_BYTES) as u32).to_le_bytes());
        hasher.update(&((end - at) as u32).to_le_bytes());
        at = end;
    }
}

/// What the bytes from `offset_bytes` on are, as far as `entries` go: neighbouring chunks from the one that holds the offset.
pub(super) fn kind_from<'a>(offset_bytes: u64, entries: impl Iterator<Item = (Extent, &'a ChunkEntry)>) -> ImageRun {
    let mut kind = None;
    let mut end_bytes = offset_bytes;
    for (extent, entry) in entries {
        for (part, data) in parts(extent, entry) {
            if part.end() <= offset_bytes {
                continue;
            }
            if *kind.get_or_insert(data) != data {
                return ImageRun { length_bytes: end_bytes - offset_bytes, data: !data };
            }
            end_bytes = part.end();
        }
    }
    ImageRun { length_bytes: end_bytes - offset_bytes, data: kind.unwrap_or(false) }
}

/// The runs of a chunk as ranges of the disk.
fn parts(extent: Extent, entry: &ChunkEntry) -> Vec<(Extent, bool)> {
    let ChunkEntry::Data { runs, .. } = entry else { return vec![(extent, false)] };
    let mut start = extent.offset();
    let mut parts = Vec::with_capacity(runs.len());
    for run in runs {
        let end = (start + u64::from(run.blocks()) * BLOCK_BYTES as u64).min(extent.end());
        parts.push((Extent::between(start, end), !is_zero(run)));
        start = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Address, ChunkHash, PackId};

    fn blocks(slot: u32, blocks: u16) -> Run {
        Run::Blocks { address: Address { pack: PackId([1; 16]), slot }, blocks }
    }

    fn chunk() -> Vec<Run> {
        vec![blocks(10, 3), Run::Zero { blocks: 2 }, blocks(100, 4)]
    }

    /// What a store would give: each block is filled with its slot.
    fn read(runs: &[Run], buffer: &mut [u8]) -> Result<(), ()> {
        let slots = runs.iter().flat_map(|run| match *run {
            Run::Zero { blocks } => vec![0; usize::from(blocks)],
            Run::Blocks { address, blocks } => (address.slot..address.slot + u32::from(blocks)).collect(),
        });
        let bytes: Vec<u8> = slots.flat_map(|slot| [slot.to_le_bytes()[0]; BLOCK_BYTES]).collect();
        assert_eq!(bytes.len(), buffer.len(), "whole blocks are asked for");
        buffer.copy_from_slice(&bytes);
        Ok(())
    }

    #[test]
    fn any_range_of_a_chunk_is_what_the_whole_has_there() {
        let mut whole = vec![0; 9 * BLOCK_BYTES];
        read(&chunk(), &mut whole).expect("it never fails");
        for start in [0, 1, 4095, 4096, 12_288, 13_000, 20_479, 32_768] {
            for length in [1, 2, 4095, 4096, 4097, 8192, 12_000, 20_480] {
                let end = (start + length).min(whole.len());
                let mut part = vec![0xee; end - start];
                read_range(&chunk(), start, &mut part, read).expect("it never fails");
                assert!(part == whole[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn a_cut_names_the_blocks_that_are_asked_for_and_no_others() {
        assert_eq!(cut(&chunk(), 2..6), [blocks(12, 1), Run::Zero { blocks: 2 }, blocks(100, 1)]);
        assert_eq!(cut(&chunk(), 8..9), [blocks(103, 1)]);
        assert_eq!(cut(&chunk(), 9..9), []);
    }

    #[test]
    fn data_and_holes_alternate_and_go_on_over_chunks() {
        let data = ChunkEntry::Data { hash: ChunkHash([0; 32]), runs: chunk() };
        let block = BLOCK_BYTES as u64;
        let at = |nth: u64| Extent::between(nth * 9 * block, (nth + 1) * 9 * block);
        let entries = [(at(0), &data), (at(1), &data), (at(2), &ChunkEntry::Free), (at(3), &ChunkEntry::Hole)];
        let kind = |offset: u64| kind_from(offset, entries.into_iter().filter(|(extent, _)| extent.end() > offset));
        assert_eq!(kind(0), ImageRun { length_bytes: 3 * block, data: true });
        assert_eq!(kind(3 * block + 5), ImageRun { length_bytes: 2 * block - 5, data: false });
        assert_eq!(kind(5 * block), ImageRun { length_bytes: 7 * block, data: true }, "from one chunk into the next");
        assert_eq!(kind(18 * block), ImageRun { length_bytes: 18 * block, data: false });
        assert_eq!(data_blocks(&data), 7);
    }
}
