//! What can go wrong with a job: the rooms' own errors, and what only the use case can see.

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;

use super::policies::SettingsError;
use crate::backend::BackendError;
use crate::catalogue::CatalogueError;
use crate::crypt::CryptError;
use crate::quiesce::QuiesceError;
use crate::restore::{RestoreError, is_map_damage};
use crate::scan::ScanError;
use crate::source::{HintError, SourceError};
use crate::store::StoreError;
use crate::units::{ContentId, Extent, GridError, KeySlotId, MachineName, NameError, PointId, VaultId};

/// What a failure means to whoever started the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The vault has damage.
    Damage,
    /// Somebody asked for the end.
    Cancelled,
    /// Anything else.
    Other,
}

/// A failed job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The place where objects are kept failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Keys or sealed objects failed.
    #[error(transparent)]
    Crypt(#[from] CryptError),
    /// The store of blocks failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store does not keep the one promise that several writers need.
    #[error(
        "{location} ignores create-if-absent: a second object took the place of the first under the same name, so two writers could \
         destroy each other's backups; use another store, or make the vault with --single-writer and never write from two places at once"
    )]
    NoCreateIfAbsent {
        /// The place.
        location: String,
    },
    /// Maps or recovery points failed.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// Policies or the protection of points say no.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The disk to back up failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A scan failed.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The disk is larger than Cairn keeps.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// Somebody asked for the end.
    #[error("the job was cancelled")]
    Cancelled,
    /// A name that cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An image without data is no sample.
    #[error("{} has no whole chunk of data to measure on; give another --data", path.display())]
    NoSample {
        /// The image.
        path: PathBuf,
    },
    /// A file of hints cannot be understood.
    #[error("{}: {source}", path.display())]
    Hints {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HintError,
    },
    /// A disk that lies in the vault.
    #[error(
        "'{}' lies in the vault {}, which cannot back up its own files; name the machine's disk, or use another vault",
        path.display(), location.display()
    )]
    SourceInVault {
        /// What was named.
        path: PathBuf,
        /// The vault's directory.
        location: PathBuf,
    },
    /// A machine without disks.
    #[error("there is nothing to back up of {machine}: name its disks with --disk NAME=SOURCE")]
    NoDisk {
        /// The machine.
        machine: MachineName,
    },
    /// Two disks of one name.
    #[error("two disks are called {disk}; give each its own name")]
    DiskTwice {
        /// The name.
        disk: MachineName,
    },
    /// Another point of the machine has just this time.
    #[error("{machine} has a recovery point of {time} already; give another --time, or none for now")]
    TimeTaken {
        /// The machine.
        machine: MachineName,
        /// The time.
        time: Timestamp,
    },
    /// A point that was read without a lease.
    #[error(
        "{source}; the vault cannot be written to from here, so a collection could not be told that the point is being read, and may have removed it"
    )]
    Unprotected {
        /// What failed.
        source: Box<JobError>,
    },
    /// Another collection is under way.
    #[error("another collection is under way: {holder}; this one leaves the vault to it")]
    Collecting {
        /// Who holds its lease.
        holder: String,
    },
    /// A point of which nobody can tell what it needs.
    #[error(
        "nothing is collected: what recovery point {point} needs cannot be told, because its manifest is lost ({reason}); put it back from a copy          of the vault, or give up what only such points need with --give-up-lost-points"
    )]
    PointsLost {
        /// The point.
        point: PointId,
        /// What is wrong with its manifest.
        reason: String,
    },
    /// Collections took away again and again what a backup referred to.
    #[error("{machine} could not be backed up: in {attempts} tries a collection took away data that the backup referred to; run it again")]
    Overtaken {
        /// The machine.
        machine: MachineName,
        /// Tries.
        attempts: u32,
    },
    /// A disk could not be restored.
    #[error("disk {disk} of {point}: {source}")]
    Restore {
        /// The disk.
        disk: MachineName,
        /// The point, as a person names it.
        point: String,
        /// Why.
        source: RestoreError,
    },
    /// The point has no such disk.
    #[error("{point} has no disk {disk}; it has {has}")]
    NoSuchDisk {
        /// The point, as a person names it.
        point: String,
        /// What was asked for.
        disk: MachineName,
        /// Its disks.
        has: String,
    },
    /// Several disks cannot go to one target.
    #[error("'{}' is no directory, and without --disk a whole recovery point is restored; name one of its disks: {has}", path.display())]
    NoDirectory {
        /// The target.
        path: PathBuf,
        /// The point's disks.
        has: String,
    },
    /// No key slot is called that.
    #[error("no key slot has an id or label '{asked}'; `cairn key list` shows them")]
    NoSuchSlot {
        /// What was asked for.
        asked: String,
    },
    /// More than one key slot is called that.
    #[error("'{asked}' names {count} key slots; give more of the id, as `cairn key list` shows it")]
    ManySlots {
        /// What was asked for.
        asked: String,
        /// How many it names.
        count: usize,
    },
    /// Without this slot nothing would open the vault.
    #[error("key slot {slot} is the last one: without it nothing could ever open the vault again; add another first")]
    LastSlot {
        /// The slot.
        slot: KeySlotId,
    },
    /// Key slots mean something only in an encrypted vault.
    #[error("{location} is not encrypted: its key lies open, and a key slot would protect nothing; make a new vault with encryption")]
    NotEncrypted {
        /// The vault.
        location: String,
    },
    /// The machine could not be brought to rest, or no snapshot of it taken.
    #[error(transparent)]
    Quiesce(#[from] QuiesceError),
    /// A vault cannot be copied to itself.
    #[error("{to} is the vault that is copied from, or a mirror of it; name another vault")]
    SameVault {
        /// The target.
        to: String,
    },
    /// A place has another vault than the one that it is to be a copy of.
    #[error("{location} has the vault {found}, not {expected}: it is no mirror of this vault; name another place")]
    AnotherVault {
        /// The place.
        location: String,
        /// The vault.
        expected: VaultId,
        /// What is there.
        found: VaultId,
    },
    /// A place has nothing by which it could be known as the vault that is to be repaired.
    #[error(
        "{location} has no header, no key slot and no object of this vault: nothing says that it is the vault; name the right place, \
             or make a copy of the mirror there with `cairn mirror`"
    )]
    NotThisVault {
        /// The place.
        location: String,
    },
    /// A place holds something, but no vault.
    #[error("{location} holds '{object}' and no vault: it is no mirror of this vault; name an empty place or the mirror")]
    NotAMirror {
        /// The place.
        location: String,
        /// Something that is there.
        object: String,
    },
    /// Somebody collects in a mirror.
    #[error(
        "{location} was collected as a vault of its own, so it is more than a mirror, and nothing was removed; mirror without --delete"
    )]
    NotOnlyAMirror {
        /// The place.
        location: String,
    },
    /// A mirror is to be thinned out without a key.
    #[error("removing from a mirror takes the key of {location}: without it nobody can tell what was collected from what was lost")]
    NeedsKey {
        /// The vault.
        location: String,
    },
    /// Without all maps nobody knows which blocks are needed.
    #[error("blocks cannot be taken from a disk before all manifests and maps are whole: {reason}; repair the vault from a mirror first")]
    MapsLost {
        /// What is lost.
        reason: String,
    },
    /// A live disk was written to while it was read.
    #[error(
        "disk {disk} of {machine} changed while it was read; stop its writers or name a snapshot of it, then run the same command again"
    )]
    DiskChanged {
        /// The machine.
        machine: MachineName,
        /// The disk.
        disk: MachineName,
    },
    /// Collections went on all the while.
    #[error("{location} was collected again and again while it was read; run the same command again, it goes on where it stopped")]
    CollectedMeanwhile {
        /// The vault.
        location: String,
    },
    /// A disk's map does not have the content that its manifest names.
    #[error("disk {disk} of {point} was not copied: what was read has the content id {found}, expected {expected}")]
    CopyDiffers {
        /// The disk.
        disk: MachineName,
        /// The point, as a person names it.
        point: String,
        /// What the manifest says.
        expected: ContentId,
        /// What the copy would have.
        found: ContentId,
    },
    /// A chunk cannot be read from the vault.
    #[error("bytes {} to {}: {source}", range.offset(), range.end())]
    Unreadable {
        /// The bytes of the disk.
        range: Extent,
        /// Why.
        source: StoreError,
    },
    /// A chunk was read, but it is not what was backed up.
    #[error("bytes {} to {} do not have the hash that the map names: the vault is damaged", range.offset(), range.end())]
    WrongBytes {
        /// The bytes of the disk.
        range: Extent,
    },
    /// A file beside the vault failed.
    #[error("{what} '{}' {doing}: {source}", path.display())]
    File {
        /// The file's role.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What failed: "cannot be made".
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl JobError {
    /// What the failure means to whoever started the job.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled | Self::Scan(ScanError::Cancelled) | Self::Quiesce(QuiesceError::Cancelled) => ErrorKind::Cancelled,
            Self::Store(StoreError::Cancelled) | Self::Restore { source: RestoreError::Cancelled, .. } => ErrorKind::Cancelled,
            Self::Store(error) | Self::Unreadable { source: error, .. } if error.is_damage() => ErrorKind::Damage,
            Self::CopyDiffers { .. } | Self::WrongBytes { .. } | Self::MapsLost { .. } => ErrorKind::Damage,
            Self::Catalogue(error) if is_map_damage(error) => ErrorKind::Damage,
            Self::Restore { source, .. } if source.is_damage() => ErrorKind::Damage,
            Self::PointsLost { .. } => ErrorKind::Damage,
            Self::Unprotected { source } => source.kind(),
            _ => ErrorKind::Other,
        }
    }
}
