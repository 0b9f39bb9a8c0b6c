//! What this computer has seen of a vault: each machine's last point. A vault that does not have it any more, and no tombstone of it, was
//! rolled back, or somebody removed the point past its deletion.
//!
//! The file is advice and no part of the vault. Two processes that write it at the same time may lose one's news, which only delays
//! notice; a file that cannot be read is told of and begun anew.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::CatalogueError;
use super::points::{Listing, ManifestHash};
use crate::io::replace_durable;
use crate::monitor::Problem;
use crate::units::{MachineName, PointId, VaultId};

/// The version of the file.
const VERSION: u32 = 1;

/// A machine's last point, as this computer has seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The point.
    pub point: PointId,
    /// Its number.
    pub sequence: u64,
    /// The hash of its manifest object.
    pub hash: ManifestHash,
    /// Its time.
    pub time: Timestamp,
}

/// The memory of one vault.
#[derive(Debug)]
pub struct Remembered {
    path: PathBuf,
    machines: BTreeMap<MachineName, Seen>,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    machines: BTreeMap<String, Record>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    point: String,
    sequence: u64,
    manifest_hash: String,
    time: String,
}

impl Remembered {
    /// Reads what is remembered of a vault in a directory of this computer; nothing where there is no file yet.
    ///
    /// # Errors
    /// [`CatalogueError::Memory`] where the file cannot be read or understood; [`Remembered::nothing`] begins anew.
    pub fn load(directory: &Path, vault: VaultId) -> Result<Self, CatalogueError> {
        let mut remembered = Self::nothing(directory, vault);
        let bytes = match fs::read(&remembered.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(remembered),
            Err(error) => return Err(remembered.error(error.to_string())),
        };
        remembered.machines = parse(&bytes).map_err(|reason| remembered.error(reason))?;
        Ok(remembered)
    }

    /// An empty memory of a vault, to be saved in a directory of this computer.
    pub fn nothing(directory: &Path, vault: VaultId) -> Self {
        Self { path: directory.join(format!("{vault}.json")), machines: BTreeMap::new() }
    }

    /// A machine's last point, as remembered.
    pub fn last_of(&self, machine: &MachineName) -> Option<&Seen> {
        self.machines.get(machine)
    }

    /// Compares a listing with the memory: one problem for each machine whose last point is gone without a tombstone. Then remembers the
    /// newest point of all other machines; what was missed stays remembered, so that it is told of until somebody removes the file.
    /// Says whether anything is to be saved.
    pub fn compare_and_learn(&mut self, listing: &Listing) -> (Vec<Problem>, bool) {
        let mut problems = Vec::new();
        for (machine, seen) in &self.machines {
            if !is_there(seen, listing) {
                problems.push(self.missed(machine, seen));
            }
        }
        let mut changed = false;
        for machine in listing.machines() {
            let Some(last) = listing.last_of(machine) else { continue };
            let now = Seen { point: last.point(), sequence: last.manifest.sequence, hash: last.hash, time: last.manifest.time };
            let before = self.machines.get(machine);
            if before.is_some_and(|before| *before == now || !is_there(before, listing)) {
                continue;
            }
            self.machines.insert(machine.clone(), now);
            changed = true;
        }
        (problems, changed)
    }

    /// Writes the memory, durable when this returns.
    ///
    /// # Errors
    /// [`CatalogueError::Memory`].
    pub fn save(&self) -> Result<(), CatalogueError> {
        let record = |seen: &Seen| Record {
            point: seen.point.to_string(),
            sequence: seen.sequence,
            manifest_hash: blake3::Hash::from_bytes(seen.hash).to_hex().to_string(),
            time: seen.time.to_string(),
        };
        let machines = self.machines.iter().map(|(machine, seen)| (machine.to_string(), record(seen))).collect();
        let text = serde_json::to_vec_pretty(&File { version: VERSION, machines }).map_err(|error| self.error(error.to_string()))?;
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory).map_err(|error| self.error(error.to_string()))?;
        }
        replace_durable(&self.path, &text).map_err(|error| self.error(error.to_string()))
    }

    fn missed(&self, machine: &MachineName, seen: &Seen) -> Problem {
        let message = format!(
            "this computer has seen its recovery point {machine}@{} (number {}, {}), but the vault has neither it nor a tombstone of it: \
             the vault was put back to an older state, or somebody removed the point. If that was meant, remove {}",
            seen.time,
            seen.sequence,
            seen.point,
            self.path.display()
        );
        Problem { subject: format!("machine {machine}"), message }
    }

    fn error(&self, reason: String) -> CatalogueError {
        CatalogueError::Memory { path: self.path.clone(), reason }
    }
}

/// Whether a listing has a point as it was seen, or its tombstone. A point whose objects are damaged is not gone: the listing tells of it.
fn is_there(seen: &Seen, listing: &Listing) -> bool {
    let mut listed = listing.points.iter().chain(&listing.deleted);
    listed.any(|summary| summary.point() == seen.point && summary.hash == seen.hash)
        || listing.removed.contains(&seen.point)
        || listing.problems.iter().any(|problem| problem.point == seen.point)
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<MachineName, Seen>, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("expected version {VERSION}, found {}", file.version));
    }
    let mut machines = BTreeMap::new();
    for (machine, record) in file.machines {
        let seen = Seen {
            point: record.point.parse().map_err(|error: crate::units::IdParseError| error.to_string())?,
            sequence: record.sequence,
            hash: *blake3::Hash::from_hex(&record.manifest_hash).map_err(|error| error.to_string())?.as_bytes(),
            time: record.time.parse().map_err(|error: jiff::Error| error.to_string())?,
        };
        machines.insert(machine.parse().map_err(|error: crate::units::NameError| error.to_string())?, seen);
    }
    Ok(machines)
}
