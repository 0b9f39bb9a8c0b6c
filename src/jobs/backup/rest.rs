//! Bringing the machine to rest for a backup: what the room that does it must know of disks and vault.

use std::path::{self, PathBuf};

use super::clones::{self, Clones};
use super::{BackupRequest, DiskRequest};
use crate::format::names::ObjectName;
use crate::format::point::Consistency;
use crate::jobs::JobError;
use crate::monitor::Monitor;
use crate::quiesce::{Account, DiskPlace, Label, Occasion, Protected, QuiesceError, Rest, Setup};
use crate::store::Vault;
use crate::units::PointId;

impl From<Label> for Consistency {
    fn from(label: Label) -> Self {
        match label {
            Label::Crash => Self::Crash,
            Label::FileSystem => Self::FileSystem,
            Label::Application => Self::Application,
        }
    }
}

/// Looks at what is asked for and runs the pre-script; `None` where nothing is to be done.
pub(super) fn begin<'a>(
    vault: &Vault,
    request: &'a BackupRequest,
    point: PointId,
    monitor: &'a dyn Monitor,
) -> Result<Option<Rest<'a>>, JobError> {
    let Some(setup) = request.quiesce.as_ref().filter(|setup| !setup.options.is_empty()) else { return Ok(None) };
    let place = |disk: &DiskRequest| {
        let failed = |why: String| QuiesceError::Snapshot { disk: disk.name.to_string(), why };
        let path = match &disk.spec {
            // A note of it must mean the same file wherever it is read again.
            Some(spec) => path::absolute(&spec.path).map_err(|error| failed(error.to_string()))?,
            None if setup.options.snapshot.is_some() => return Err(failed("nobody has said where it is read from".to_owned()).into()),
            None => PathBuf::new(),
        };
        let clone = clones::planned(vault, request, disk, point).map_err(|error| failed(error.to_string()))?;
        Ok::<_, JobError>(DiskPlace { name: disk.name.to_string(), path, clone })
    };
    let mut protected = vec![Protected { role: "the vault's index", path: vault.index_directory().to_owned() }];
    let location = vault.backend().local_path(&ObjectName::Vault.to_string());
    protected.extend(location.map(|path| Protected { role: "the vault", path }));
    let occasion = Occasion {
        machine: request.machine.to_string(),
        id: point.to_string(),
        disks: request.disks.iter().map(place).collect::<Result<_, _>>()?,
        protected,
        keeps_clones: keeps_clones(request),
    };
    Ok(Some(Rest::begin(setup, occasion, monitor)?))
}

fn keeps_clones(request: &BackupRequest) -> bool {
    request.disks.iter().any(|disk| disk.keep_clone.is_some())
}

/// Takes what is read instead of the disks, while the machine is held at rest.
pub(super) fn take<'a>(
    rest: &mut Option<Rest<'_>>,
    vault: &Vault,
    request: &'a BackupRequest,
    point: PointId,
    monitor: &'a dyn Monitor,
) -> Result<Clones<'a>, JobError> {
    let takes_snapshot = |setup: &Setup| setup.options.snapshot.is_some() || keeps_clones(request);
    match rest {
        Some(rest) if request.quiesce.as_ref().is_some_and(takes_snapshot) => {
            rest.hold(|rest| Clones::take(vault, request, point, Some(rest), monitor))
        }
        _ => Clones::take(vault, request, point, None, monitor),
    }
}

/// Lets the machine go on, where it does not yet, and removes the snapshots, which were read; the account of it all.
pub(super) fn end(rest: Option<Rest<'_>>) -> Result<Option<Account>, JobError> {
    let Some(mut rest) = rest else { return Ok(None) };
    rest.release()?;
    rest.remove_snapshots();
    Ok(Some(rest.account()))
}
