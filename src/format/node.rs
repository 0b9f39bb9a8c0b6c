//! The bytes of map nodes: columns rather than records, so that equal things lie together when they are compressed.
//!
//! Equal nodes have equal bytes, and only those bytes decode.

use std::collections::{HashMap, HashSet};

use super::FormatError;
use super::bytes::{Reader, Writer, wide};
use super::map::{ABSENT, Child, ChunkEntry, MAX_LEVEL, Node, NodeRef, PackSummary, Run};
use crate::units::{Address, BLOCKS_PER_CHUNK, ChunkHash, ContentId, LEAF_CHUNKS, NODE_CHILDREN, NodeId, PackId};

/// The version of map nodes.
const NODE_VERSION: u8 = 1;
/// Stands for zeros where else the number of a pack is.
const ZERO_RUN: u16 = u16::MAX;

/// A number that is stored in fewer bits than `usize` has. Every such number was checked against a smaller limit before.
fn narrow<T: TryFrom<usize>>(value: usize) -> T {
    T::try_from(value).unwrap_or_else(|_| unreachable!("{value} was checked against its limit"))
}

/// The packs that a node names, in the order in which it first does.
#[derive(Default)]
struct PackTable {
    packs: Vec<PackId>,
    numbers: HashMap<PackId, u16>,
}

impl PackTable {
    fn number(&mut self, pack: PackId) -> u16 {
        let next = narrow(self.packs.len());
        *self.numbers.entry(pack).or_insert_with(|| {
            self.packs.push(pack);
            next
        })
    }

    fn write(&self, writer: &mut Writer) {
        self.packs.iter().for_each(|pack| writer.raw(pack.as_bytes()));
    }
}

/// A table of packs as read, and how many of them were named so far.
struct NamedPacks {
    packs: Vec<PackId>,
    named: u16,
}

impl NamedPacks {
    fn read(reader: &mut Reader<'_>, count: u16) -> Result<Self, FormatError> {
        reader.fits(u64::from(count), 16)?;
        let packs = (0..count).map(|_| reader.array().map(PackId)).collect::<Result<Vec<_>, _>>()?;
        let distinct = packs.iter().collect::<HashSet<_>>().len() == packs.len();
        reader.require(distinct, "each pack once", "one twice")?;
        Ok(Self { packs, named: 0 })
    }

    /// The pack of this number; the first use of each must come in order.
    fn pack(&mut self, reader: &Reader<'_>, number: u16) -> Result<PackId, FormatError> {
        let pack = self.packs.get(usize::from(number)).filter(|_| number <= self.named);
        let pack = *pack.ok_or_else(|| reader.corrupt("the number of a pack, in order of first use", number))?;
        self.named = self.named.max(number.saturating_add(1));
        Ok(pack)
    }

    fn finish(&self, reader: &Reader<'_>) -> Result<(), FormatError> {
        let found = format!("{} of {}", self.named, self.packs.len());
        reader.require(usize::from(self.named) == self.packs.len(), "every pack of the table to be named", found)
    }
}

/// The rule that a chunk's runs break, if any.
fn check_runs(runs: &[Run]) -> Result<(), &'static str> {
    let blocks: usize = runs.iter().map(|run| usize::from(run.blocks())).sum();
    if runs.iter().any(|run| run.blocks() == 0) || blocks > BLOCKS_PER_CHUNK {
        return Err("a chunk has an empty run or more than 64 blocks");
    }
    let mut stored = runs.iter().filter_map(|run| match run {
        Run::Zero { .. } => None,
        Run::Blocks { address, blocks } => Some((address.slot, *blocks)),
    });
    if !runs.iter().any(|run| matches!(run, Run::Blocks { .. })) {
        return Err("a chunk of data has none");
    }
    if !stored.all(|(slot, blocks)| slot.checked_add(u32::from(blocks)).is_some()) {
        return Err("a run reaches past the last slot");
    }
    Ok(())
}

impl Node {
    /// The rule that this breaks, if any.
    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Leaf(entries) if !(1..=LEAF_CHUNKS).contains(&entries.len()) => Err("a leaf has not 1 to 256 chunks"),
            Self::Leaf(entries) if entries.iter().any(|entry| entry.data_hash() == Some(&ChunkHash(ABSENT.0))) => {
                Err("a chunk of data has the hash that stands for none")
            }
            Self::Leaf(entries) => entries.iter().try_for_each(|entry| match entry {
                ChunkEntry::Data { runs, .. } => check_runs(runs),
                ChunkEntry::Hole | ChunkEntry::Zero | ChunkEntry::Free => Ok(()),
            }),
            Self::Inner { children, .. } if !(1..=NODE_CHILDREN).contains(&children.len()) => {
                Err("an inner node has not 1 to 256 children")
            }
            Self::Inner { level, .. } if !(1..=MAX_LEVEL).contains(level) => Err("an inner node's level is not 1 to 7"),
            Self::Inner { .. } => Ok(()),
        }
    }

    /// The node's bytes: what a slot of a metadata pack holds, and what its id is the hash of.
    ///
    /// # Panics
    /// Where the node breaks a rule that [`Node::decode`] checks: a fault of whoever built it, which must not be stored.
    pub fn encode(&self) -> Vec<u8> {
        let checked = self.check();
        assert!(checked.is_ok(), "this map node cannot be stored: {checked:?}");
        match self {
            Self::Leaf(entries) => encode_leaf(entries),
            Self::Inner { level, children } => encode_inner(*level, children),
        }
    }

    /// The node from such bytes.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`], also for bytes that no encoder makes; [`FormatError::Unsupported`] for a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new("map node", bytes);
        let level = reader.u8()?;
        reader.require(level <= MAX_LEVEL, "level 0 to 7", level)?;
        let version = reader.u8()?;
        reader.require(version != 0, "a version from 1", version)?;
        if version > NODE_VERSION {
            return Err(FormatError::Unsupported { object: "map node", what: format!("version {version}") });
        }
        let node = match level {
            0 => Self::Leaf(decode_leaf(&mut reader)?),
            level => Self::Inner { level, children: decode_inner(&mut reader)? },
        };
        node.check().map_err(|rule| reader.corrupt("a legal node", rule))?;
        reader.finish()?;
        Ok(node)
    }
}

/// What a leaf's columns hold besides the table of packs.
#[derive(Default)]
struct LeafColumns {
    tags: Writer,
    run_counts: Writer,
    packs: Writer,
    blocks: Writer,
    slots: Writer,
    hashes: Writer,
    table: PackTable,
    run_count: u16,
    /// The slot after the run before.
    next_slot: u32,
}

impl LeafColumns {
    fn chunk(&mut self, entry: &ChunkEntry) {
        self.tags.u8(match entry {
            ChunkEntry::Hole => 0,
            ChunkEntry::Zero => 1,
            ChunkEntry::Free => 2,
            ChunkEntry::Data { .. } => 3,
        });
        if let ChunkEntry::Data { hash, runs } = entry {
            self.run_counts.u8(narrow(runs.len()));
            runs.iter().for_each(|run| self.run(run));
            self.hashes.raw(hash.as_bytes());
        }
    }

    fn run(&mut self, run: &Run) {
        self.run_count = self.run_count.saturating_add(1);
        self.blocks.u8(narrow(usize::from(run.blocks())));
        match *run {
            Run::Zero { .. } => {
                self.packs.u16(ZERO_RUN);
                self.slots.u32(0);
            }
            Run::Blocks { address, blocks } => {
                self.packs.u16(self.table.number(address.pack));
                self.slots.u32(address.slot.wrapping_sub(self.next_slot));
                self.next_slot = address.slot.wrapping_add(u32::from(blocks));
            }
        }
    }
}

fn encode_leaf(entries: &[ChunkEntry]) -> Vec<u8> {
    let mut columns = LeafColumns::default();
    entries.iter().for_each(|entry| columns.chunk(entry));
    let mut writer = Writer::new();
    writer.u8(0);
    writer.u8(NODE_VERSION);
    writer.u16(narrow(entries.len()));
    writer.u16(narrow(columns.table.packs.len()));
    writer.u16(columns.run_count);
    columns.table.write(&mut writer);
    for column in [columns.tags, columns.run_counts, columns.packs, columns.blocks, columns.slots, columns.hashes] {
        writer.raw(&column.into_bytes());
    }
    writer.into_bytes()
}

fn decode_leaf(reader: &mut Reader<'_>) -> Result<Vec<ChunkEntry>, FormatError> {
    let (chunk_count, pack_count, run_count) = (reader.u16()?, reader.u16()?, reader.u16()?);
    let mut table = NamedPacks::read(reader, pack_count)?;
    let tags = reader.raw(u64::from(chunk_count))?;
    let legal_tag = tags.iter().all(|tag| *tag <= 3);
    reader.require(legal_tag, "chunks of kind 0, 1, 2 or 3", "another kind")?;
    let data_count = wide(tags.iter().filter(|tag| **tag == 3).count());
    let run_counts = reader.raw(data_count)?;
    let total: u64 = run_counts.iter().map(|count| u64::from(*count)).sum();
    reader.require(total == u64::from(run_count), "as many runs as the chunks have", total)?;
    let mut runs = decode_runs(reader, &mut table, run_count)?.into_iter();
    table.finish(reader)?;
    let mut run_counts = run_counts.iter();
    tags.iter()
        .map(|tag| {
            Ok(match tag {
                0 => ChunkEntry::Hole,
                1 => ChunkEntry::Zero,
                2 => ChunkEntry::Free,
                _ => {
                    let count = run_counts.next().map_or(0, |count| usize::from(*count));
                    ChunkEntry::Data { hash: ChunkHash(reader.array()?), runs: runs.by_ref().take(count).collect() }
                }
            })
        })
        .collect()
}

fn decode_runs(reader: &mut Reader<'_>, table: &mut NamedPacks, count: u16) -> Result<Vec<Run>, FormatError> {
    let packs = (0..count).map(|_| reader.u16()).collect::<Result<Vec<_>, _>>()?;
    let blocks = reader.raw(u64::from(count))?;
    let mut next_slot = 0_u32;
    let run = |(pack, blocks): (u16, &u8)| {
        let (stored, blocks) = (reader.u32()?, u16::from(*blocks));
        if pack == ZERO_RUN {
            reader.require(stored == 0, "slot 0 of zeros", stored)?;
            return Ok(Run::Zero { blocks });
        }
        let slot = next_slot.wrapping_add(stored);
        next_slot = slot.wrapping_add(u32::from(blocks));
        Ok(Run::Blocks { address: Address { pack: table.pack(reader, pack)?, slot }, blocks })
    };
    packs.into_iter().zip(blocks).map(run).collect()
}

fn nodes_of(children: &[Child]) -> impl Iterator<Item = &NodeRef> + Clone {
    children.iter().filter_map(|child| match child {
        Child::Node(node) => Some(node),
        Child::Hole | Child::Zero | Child::Free => None,
    })
}

fn encode_inner(level: u8, children: &[Child]) -> Vec<u8> {
    let nodes = nodes_of(children);
    let mut table = PackTable::default();
    let numbers: Vec<u16> = nodes.clone().map(|node| table.number(node.address.pack)).collect();
    let mut writer = Writer::new();
    writer.u8(level);
    writer.u8(NODE_VERSION);
    writer.u16(narrow(children.len()));
    writer.u16(narrow(table.packs.len()));
    table.write(&mut writer);
    for child in children {
        writer.u8(match child {
            Child::Hole => 0,
            Child::Zero => 1,
            Child::Free => 2,
            Child::Node(_) => 3,
        });
    }
    numbers.into_iter().for_each(|number| writer.u16(number));
    let mut next_slot = 0_u32;
    for node in nodes.clone() {
        writer.u32(node.address.slot.wrapping_sub(next_slot));
        next_slot = node.address.slot.wrapping_add(1);
    }
    nodes.clone().for_each(|node| writer.raw(&node.packs.0));
    nodes.clone().for_each(|node| writer.raw(node.id.as_bytes()));
    nodes.for_each(|node| writer.raw(node.content.as_bytes()));
    writer.into_bytes()
}

fn decode_inner(reader: &mut Reader<'_>) -> Result<Vec<Child>, FormatError> {
    let (child_count, pack_count) = (reader.u16()?, reader.u16()?);
    let mut table = NamedPacks::read(reader, pack_count)?;
    let tags = reader.raw(u64::from(child_count))?;
    reader.require(tags.iter().all(|tag| *tag <= 3), "children of kind 0, 1, 2 or 3", "another kind")?;
    let nodes = tags.iter().filter(|tag| **tag == 3);
    let packs = nodes.clone().map(|_| reader.u16()).collect::<Result<Vec<_>, _>>()?;
    let mut next_slot = 0_u32;
    let addresses = packs.into_iter().map(|number| {
        let slot = next_slot.wrapping_add(reader.u32()?);
        next_slot = slot.wrapping_add(1);
        Ok(Address { pack: table.pack(reader, number)?, slot })
    });
    let addresses = addresses.collect::<Result<Vec<_>, FormatError>>()?;
    table.finish(reader)?;
    let summaries = nodes.clone().map(|_| reader.array().map(PackSummary)).collect::<Result<Vec<_>, _>>()?;
    let ids = nodes.clone().map(|_| reader.array().map(NodeId)).collect::<Result<Vec<_>, _>>()?;
    let contents = nodes.map(|_| reader.array().map(ContentId)).collect::<Result<Vec<_>, _>>()?;
    let named = addresses.into_iter().zip(summaries).zip(ids).zip(contents);
    let mut named = named.map(|(((address, packs), id), content)| NodeRef { id, address, content, packs });
    let children = tags.iter().filter_map(|tag| match tag {
        0 => Some(Child::Hole),
        1 => Some(Child::Zero),
        2 => Some(Child::Free),
        _ => named.next().map(Child::Node),
    });
    Ok(children.collect())
}
