//! What a client remembers between collections: which map nodes were reached, what they name, and what tables of contents and lists of
//! moved ranges said. A cache: never needed, never part of a vault, and trusted only because it is sealed with the vault's keys.

use super::FormatError;
use super::bytes::{Reader, Writer, wide};
use super::control::Moved;
use super::envelope::ObjectKind;
use super::map::PackSummary;
use super::pack::{BirthRange, PackKind};
use crate::units::{Address, LeaseId, NodeId, PackId};

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MarkedNodes {
    /// The packs that leaves name, by their numbers.
    pub packs: Vec<PackId>,
    /// Map nodes, by their numbers.
    pub nodes: Vec<MarkedNode>,
    /// For packs of blocks: which were reached, 64 slots a word, the lowest bit first.
    pub blocks: Vec<(PackId, Vec<u64>)>,
    /// What tables of contents say.
    pub tables: Vec<PackTable>,
    /// Lists of moved ranges.
    pub moved: Vec<Moved>,
    /// Leases and when they were first seen with this number.
    pub leases: Vec<SeenLease>,
}

/// A map node that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedNode {
    /// Its id.
    pub id: NodeId,
    /// Where it was born.
    pub address: Address,
    /// What it names.
    pub names: Names,
}

/// What a map node names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// It was not read; its parent says which packs it may name.
    Unknown(PackSummary),
    /// A leaf: the numbers of packs.
    Packs(Vec<u32>),
    /// An inner node: the numbers of nodes.
    Nodes(Vec<u32>),
}

/// What of a pack's table of contents matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackTable {
    /// The pack.
    pub pack: PackId,
    /// What it holds.
    pub kind: PackKind,
    /// Its slots.
    pub slots: u32,
    /// Slots that were born elsewhere, ascending.
    pub births: Vec<BirthRange>,
}

/// A lease as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenLease {
    /// The lease.
    pub lease: LeaseId,
    /// Its number.
    pub number: u64,
    /// Which start of the computer it was seen after.
    pub boot: [u8; 16],
    /// Seconds of that start's monotonic clock when it was first seen with this number.
    pub seconds: u64,
}

impl MarkedNodes {
    /// The memory as a body of [`ObjectKind::MarkedNodes`].
    ///
    /// # Errors
    /// [`FormatError::Invalid`] for a list of moved ranges that breaks a rule.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let mut writer = Writer::new();
        writer.count(self.packs.len());
        self.packs.iter().for_each(|pack| writer.raw(pack.as_bytes()));
        writer.count(self.nodes.len());
        self.nodes.iter().for_each(|node| node.write(&mut writer));
        writer.count(self.blocks.len());
        for (pack, words) in &self.blocks {
            writer.raw(pack.as_bytes());
            writer.count(words.len());
            words.iter().for_each(|word| writer.u64(*word));
        }
        writer.count(self.tables.len());
        self.tables.iter().for_each(|table| table.write(&mut writer));
        writer.count(self.moved.len());
        for moved in &self.moved {
            writer.blob(&moved.encode()?);
        }
        writer.count(self.leases.len());
        for seen in &self.leases {
            writer.raw(seen.lease.as_bytes());
            writer.u64(seen.number);
            writer.raw(&seen.boot);
            writer.u64(seen.seconds);
        }
        Ok(writer.into_bytes())
    }

    /// The memory from such a body. All numbers of packs and nodes are of some that are there.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(ObjectKind::MarkedNodes.words(), body);
        let packs = reader.list(16, |reader| reader.array().map(PackId))?;
        let nodes = reader.list(54, MarkedNode::read)?;
        for node in &nodes {
            let legal = match &node.names {
                Names::Unknown(_) => true,
                Names::Packs(numbers) => numbers.iter().all(|number| u64::from(*number) < wide(packs.len())),
                Names::Nodes(numbers) => numbers.iter().all(|number| u64::from(*number) < wide(nodes.len())),
            };
            reader.require(legal, "numbers of packs and nodes that are there", "others")?;
        }
        let blocks = reader.list(24, |reader| Ok((PackId(reader.array()?), reader.list(8, Reader::u64)?)))?;
        let tables = reader.list(29, PackTable::read)?;
        let moved = reader.list(8, |reader| Moved::decode(reader.blob()?))?;
        let leases = reader.list(48, |reader| {
            let (lease, number) = (LeaseId(reader.array()?), reader.u64()?);
            Ok(SeenLease { lease, number, boot: reader.array()?, seconds: reader.u64()? })
        })?;
        reader.finish()?;
        Ok(Self { packs, nodes, blocks, tables, moved, leases })
    }
}

impl MarkedNode {
    fn write(&self, writer: &mut Writer) {
        writer.raw(self.id.as_bytes());
        writer.raw(self.address.pack.as_bytes());
        writer.u32(self.address.slot);
        let numbers = match &self.names {
            Names::Unknown(summary) => {
                writer.u8(0);
                return writer.raw(&summary.0);
            }
            Names::Packs(numbers) => {
                writer.u8(1);
                numbers
            }
            Names::Nodes(numbers) => {
                writer.u8(2);
                numbers
            }
        };
        writer.count(numbers.len());
        numbers.iter().for_each(|number| writer.u32(*number));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let id = NodeId(reader.array()?);
        let address = Address { pack: PackId(reader.array()?), slot: reader.u32()? };
        let names = match reader.u8()? {
            0 => Names::Unknown(PackSummary(reader.array()?)),
            1 => Names::Packs(reader.list(4, Reader::u32)?),
            2 => Names::Nodes(reader.list(4, Reader::u32)?),
            other => return Err(reader.corrupt("a node of kind 0, 1 or 2", other)),
        };
        Ok(Self { id, address, names })
    }
}

impl PackTable {
    fn write(&self, writer: &mut Writer) {
        writer.raw(self.pack.as_bytes());
        writer.flag(self.kind == PackKind::Map);
        writer.u32(self.slots);
        writer.count(self.births.len());
        for range in &self.births {
            writer.u32(range.slot);
            writer.u32(range.count);
            writer.u32(range.birth.slot);
            writer.raw(range.birth.pack.as_bytes());
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let pack = PackId(reader.array()?);
        let kind = if reader.flag()? { PackKind::Map } else { PackKind::Data };
        let slots = reader.u32()?;
        let births = reader.list(28, |reader| {
            let (slot, count, birth_slot) = (reader.u32()?, reader.u32()?, reader.u32()?);
            Ok(BirthRange { slot, birth: Address { pack: PackId(reader.array()?), slot: birth_slot }, count })
        })?;
        Ok(Self { pack, kind, slots, births })
    }
}
