//! Recovery points: manifest, verdict, state records. The manifest's bytes are in `manifest.rs`.

use jiff::Timestamp;

use super::FormatError;
use super::bytes::{Reader, Writer};
use super::envelope::ObjectKind;
use super::map::Child;
use crate::units::{ContentId, Grid, LeaseId, MachineName, PointId};

/// Most bytes of a file kept with a point.
pub const MAX_CONFIG_BYTES: usize = 1024 * 1024;

/// How far the machine's own view of its data was at rest when the disks were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// As after a loss of power.
    Crash,
    /// Filesystems were frozen.
    FileSystem,
    /// Applications took part.
    Application,
}

/// How it was found out what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeSource {
    /// There was no base: all was read.
    First,
    /// All data was read and compared with the base's hashes.
    Scan,
    /// Hints named what changed, and the sample of the rest agreed.
    Hints {
        /// Where they came from: "qemu-img map", "thin_delta", "reflink".
        origin: String,
        /// Chunks that hints called unchanged and that were read all the same.
        sampled_chunks: u64,
    },
    /// Hints were there but not believed; all was read instead.
    HintsRefused {
        /// Where they came from.
        origin: String,
        /// Why not.
        reason: String,
    },
}

/// What backing up a disk took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskStatistics {
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Bytes of chunks that differ from the base.
    pub changed_bytes: u64,
    /// Bytes of blocks that the vault did not have.
    pub new_bytes: u64,
    /// Bytes added to the vault for them, compressed and sealed.
    pub stored_bytes: u64,
}

/// One disk of a recovery point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskRecord {
    /// The disk's name, unique in its machine.
    pub name: MachineName,
    /// Size and grid.
    pub grid: Grid,
    /// The root of its map.
    pub root: Child,
    /// Equal for equal contents on the same grid, in any vault.
    pub content_id: ContentId,
    /// Path or URL of the source, and its format ("raw", "qcow2", "block device"), for a person.
    pub source: String,
    /// How it was found out what changed.
    pub changes: ChangeSource,
    /// What backing it up took.
    pub statistics: DiskStatistics,
}

/// A file kept with a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its name, without directories.
    pub name: String,
    /// Its bytes, up to 1 MiB.
    pub bytes: Vec<u8>,
}

/// A recovery point: immutable, sealed, under a random id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its id, also its object's name.
    pub point: PointId,
    /// The machine.
    pub machine: MachineName,
    /// Per machine, from 1: one more than the predecessor's.
    pub sequence: u64,
    /// BLAKE3 of the predecessor's manifest object as stored; none for the first.
    pub predecessor: Option<[u8; 32]>,
    /// When the disks were as kept, UTC, whole seconds.
    pub time: Timestamp,
    /// At least until when it is kept, as decided at creation.
    pub retain_until: Option<Timestamp>,
    /// How far the machine was at rest.
    pub consistency: Consistency,
    /// The point that it was compared with.
    pub base: Option<PointId>,
    /// Its disks, in the order in which they were given.
    pub disks: Vec<DiskRecord>,
    /// Tags given at creation.
    pub tags: Vec<String>,
    /// The machine's configuration.
    pub configs: Vec<ConfigFile>,
    /// Version of the program that made it.
    pub tool_version: String,
    /// Host that made it, for a person.
    pub host: String,
}

/// The part of a manifest that a mirror without keys can read: authenticated, not encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestHeader {
    /// The point's id.
    pub point: PointId,
    /// When the disks were as kept.
    pub time: Timestamp,
    /// At least until when it is kept.
    pub retain_until: Option<Timestamp>,
}

/// What decides whether a point exists for users: whoever creates it first has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The point exists.
    Published,
    /// A collector took it for abandoned.
    Revoked,
}

/// `verdicts/<point>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The point.
    pub point: PointId,
    /// What was decided.
    pub decision: Decision,
    /// Who decided.
    pub lease: LeaseId,
    /// When, by the decider's clock, for a person.
    pub time: Timestamp,
}

/// What changes later about a point: `states/<point>/<n>`, the highest number counts, each is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointState {
    /// The point.
    pub point: PointId,
    /// Kept whatever the policy says.
    pub pinned: bool,
    /// Tags, in place of the manifest's.
    pub tags: Vec<String>,
    /// At least until when it is kept.
    pub retain_until: Option<Timestamp>,
    /// When it was put into soft delete.
    pub deleted: Option<Timestamp>,
    /// When this record was made.
    pub time: Timestamp,
}

impl Verdict {
    /// The verdict as a body of [`ObjectKind::Verdict`].
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(self.point.as_bytes());
        writer.u8(match self.decision {
            Decision::Published => 1,
            Decision::Revoked => 2,
        });
        writer.raw(self.lease.as_bytes());
        writer.time(self.time);
        writer.into_bytes()
    }

    /// The verdict from such a body.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(ObjectKind::Verdict.words(), body);
        let point = PointId(reader.array()?);
        let decision = match reader.u8()? {
            1 => Decision::Published,
            2 => Decision::Revoked,
            other => return Err(reader.corrupt("decision 1 or 2", other)),
        };
        let lease = LeaseId(reader.array()?);
        let time = reader.time()?;
        reader.finish()?;
        Ok(Self { point, decision, lease, time })
    }
}

impl PointState {
    /// The record as a body of [`ObjectKind::State`].
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.raw(self.point.as_bytes());
        writer.flag(self.pinned);
        writer.texts(&self.tags);
        writer.option(self.retain_until, Writer::time);
        writer.option(self.deleted, Writer::time);
        writer.time(self.time);
        writer.into_bytes()
    }

    /// The record from such a body.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`].
    pub fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader::new(ObjectKind::State.words(), body);
        let point = PointId(reader.array()?);
        let pinned = reader.flag()?;
        let tags = reader.texts()?;
        let retain_until = reader.option(Reader::time)?;
        let deleted = reader.option(Reader::time)?;
        let time = reader.time()?;
        reader.finish()?;
        Ok(Self { point, pinned, tags, retain_until, deleted, time })
    }
}
