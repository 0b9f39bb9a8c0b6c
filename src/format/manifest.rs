//! The bytes of manifests: a clear header for mirrors without keys, and a body with the rest. Nothing is in both.

use std::collections::HashSet;

use super::FormatError;
use super::bytes::{Reader, Writer};
use super::envelope::ObjectKind;
use super::map::{Child, NodeRef, PackSummary};
use super::point::{ChangeSource, ConfigFile, Consistency, DiskRecord, DiskStatistics, MAX_CONFIG_BYTES, Manifest, ManifestHeader};
use crate::units::{Address, ContentId, Grid, MachineName, NodeId, PackId, PointId};

/// Fewest bytes of a disk in a manifest.
const LEAST_DISK_BYTES: u64 = 95;
/// Fewest bytes of a file in a manifest.
const LEAST_CONFIG_BYTES: u64 = 16;

impl ManifestHeader {
    /// The clear header of a manifest.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(self.point.as_bytes());
        writer.time(self.time);
        writer.option(self.retain_until, Writer::time);
        writer.into_bytes()
    }

    /// The header from a manifest's clear bytes.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode(clear: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new("clear header of the manifest", clear);
        let point = PointId(reader.array()?);
        let time = reader.time()?;
        let retain_until = reader.option(Reader::time)?;
        reader.finish()?;
        Ok(Self { point, time, retain_until })
    }
}

impl Manifest {
    /// The part that can be read without a key.
    pub fn header(&self) -> ManifestHeader {
        ManifestHeader { point: self.point, time: self.time, retain_until: self.retain_until }
    }

    /// The rule that this breaks, if any.
    fn check(&self) -> Result<(), &'static str> {
        let mut names = HashSet::new();
        if !self.disks.iter().all(|disk| names.insert(disk.name.as_str())) {
            return Err("two of its disks have the same name");
        }
        let mut names = HashSet::new();
        if !self.configs.iter().all(|config| names.insert(config.name.as_str())) {
            return Err("two of its configuration files have the same name");
        }
        if self.configs.iter().any(|config| config.bytes.len() > MAX_CONFIG_BYTES) {
            return Err("a configuration file has more than 1 MiB");
        }
        if !self.configs.iter().all(ConfigFile::has_plain_name) {
            return Err("a configuration file's name has a directory in it or is no name");
        }
        if self.sequence == 0 {
            return Err("its sequence number is 0");
        }
        Ok(())
    }

    /// All but the clear header, as a body of [`ObjectKind::Manifest`].
    ///
    /// # Errors
    /// [`FormatError::Invalid`] for equal names, names with directories, files over 1 MiB, sequence number 0.
    pub fn encode_body(&self) -> Result<Vec<u8>, FormatError> {
        self.check().map_err(|rule| FormatError::invalid(ObjectKind::Manifest.words(), rule))?;
        let mut writer = Writer::new();
        writer.text(self.machine.as_str());
        writer.u64(self.sequence);
        writer.option(self.predecessor.as_ref(), |writer, hash| writer.raw(hash));
        writer.u8(match self.consistency {
            Consistency::Crash => 1,
            Consistency::FileSystem => 2,
            Consistency::Application => 3,
        });
        writer.option(self.base, |writer, base| writer.raw(base.as_bytes()));
        writer.count(self.disks.len());
        self.disks.iter().for_each(|disk| write_disk(&mut writer, disk));
        writer.texts(&self.tags);
        writer.count(self.configs.len());
        for config in &self.configs {
            writer.text(&config.name);
            writer.blob(&config.bytes);
        }
        writer.text(&self.tool_version);
        writer.text(&self.host);
        Ok(writer.into_bytes())
    }

    /// The manifest from its two parts.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode(clear: &[u8], body: &[u8]) -> Result<Self, FormatError> {
        let ManifestHeader { point, time, retain_until } = ManifestHeader::decode(clear)?;
        let mut reader = Reader::new(ObjectKind::Manifest.words(), body);
        let machine = read_name(&mut reader)?;
        let sequence = reader.u64()?;
        let predecessor = reader.option(Reader::array)?;
        let consistency = match reader.u8()? {
            1 => Consistency::Crash,
            2 => Consistency::FileSystem,
            3 => Consistency::Application,
            other => return Err(reader.corrupt("consistency 1, 2 or 3", other)),
        };
        let base = reader.option(|reader| reader.array().map(PointId))?;
        let disks = reader.list(LEAST_DISK_BYTES, read_disk)?;
        let tags = reader.texts()?;
        let configs = reader.list(LEAST_CONFIG_BYTES, |reader| {
            let name = reader.text()?;
            Ok(ConfigFile { name, bytes: reader.blob()?.to_vec() })
        })?;
        let (tool_version, host) = (reader.text()?, reader.text()?);
        let manifest =
            Self { point, machine, sequence, predecessor, time, retain_until, consistency, base, disks, tags, configs, tool_version, host };
        manifest.check().map_err(|rule| reader.corrupt("a legal manifest", rule))?;
        reader.finish()?;
        Ok(manifest)
    }
}

/// Whether a file of this name can be written into a directory and nowhere else.
impl ConfigFile {
    /// Whether a manifest can keep a file of this name: no directories, no control characters, 255 bytes at most.
    pub fn has_plain_name(&self) -> bool {
        is_plain_name(&self.name)
    }
}

fn is_plain_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\\']) && !name.chars().any(char::is_control)
}

pub(super) fn read_name(reader: &mut Reader<'_>) -> Result<MachineName, FormatError> {
    let text = reader.text()?;
    text.parse().map_err(|error| reader.corrupt("a name", error))
}

fn write_disk(writer: &mut Writer, disk: &DiskRecord) {
    writer.text(disk.name.as_str());
    writer.u64(disk.grid.size_bytes());
    writer.u32(disk.grid.offset_bytes());
    write_child(writer, &disk.root);
    writer.raw(disk.content_id.as_bytes());
    writer.text(&disk.source);
    write_changes(writer, &disk.changes);
    let DiskStatistics { read_bytes, changed_bytes, new_bytes, stored_bytes } = disk.statistics;
    [read_bytes, changed_bytes, new_bytes, stored_bytes].into_iter().for_each(|bytes| writer.u64(bytes));
}

fn read_disk(reader: &mut Reader<'_>) -> Result<DiskRecord, FormatError> {
    let name = read_name(reader)?;
    let (size_bytes, offset_bytes) = (reader.u64()?, reader.u32()?);
    let grid = Grid::new(size_bytes, offset_bytes).map_err(|error| reader.corrupt("a legal grid", error))?;
    let root = read_child(reader)?;
    let content_id = ContentId(reader.array()?);
    let source = reader.text()?;
    let changes = read_changes(reader)?;
    let statistics =
        DiskStatistics { read_bytes: reader.u64()?, changed_bytes: reader.u64()?, new_bytes: reader.u64()?, stored_bytes: reader.u64()? };
    Ok(DiskRecord { name, grid, root, content_id, source, changes, statistics })
}

fn write_child(writer: &mut Writer, child: &Child) {
    match child {
        Child::Hole => writer.u8(0),
        Child::Zero => writer.u8(1),
        Child::Free => writer.u8(2),
        Child::Node(node) => {
            writer.u8(3);
            writer.raw(node.id.as_bytes());
            writer.raw(node.address.pack.as_bytes());
            writer.u32(node.address.slot);
            writer.raw(node.content.as_bytes());
            writer.raw(&node.packs.0);
        }
    }
}

fn read_child(reader: &mut Reader<'_>) -> Result<Child, FormatError> {
    Ok(match reader.u8()? {
        0 => Child::Hole,
        1 => Child::Zero,
        2 => Child::Free,
        3 => Child::Node(NodeRef {
            id: NodeId(reader.array()?),
            address: Address { pack: PackId(reader.array()?), slot: reader.u32()? },
            content: ContentId(reader.array()?),
            packs: PackSummary(reader.array()?),
        }),
        other => return Err(reader.corrupt("subtree 0, 1, 2 or 3", other)),
    })
}

fn write_changes(writer: &mut Writer, changes: &ChangeSource) {
    match changes {
        ChangeSource::First => writer.u8(1),
        ChangeSource::Scan => writer.u8(2),
        ChangeSource::Hints { origin, sampled_chunks } => {
            writer.u8(3);
            writer.text(origin);
            writer.u64(*sampled_chunks);
        }
        ChangeSource::HintsRefused { origin, reason } => {
            writer.u8(4);
            writer.text(origin);
            writer.text(reason);
        }
    }
}

fn read_changes(reader: &mut Reader<'_>) -> Result<ChangeSource, FormatError> {
    Ok(match reader.u8()? {
        1 => ChangeSource::First,
        2 => ChangeSource::Scan,
        3 => ChangeSource::Hints { origin: reader.text()?, sampled_chunks: reader.u64()? },
        4 => ChangeSource::HintsRefused { origin: reader.text()?, reason: reader.text()? },
        other => return Err(reader.corrupt("change source 1, 2, 3 or 4", other)),
    })
}
