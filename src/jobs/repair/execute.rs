//! Putting objects: each is whole on its way before what has its name is removed.

use std::sync::Arc;

use super::RepairReport;
use super::objects::{Found, read};
use super::packs::check_seal;
use super::plan::{Repair, Why};
use crate::backend::Created;
use crate::format::names::ObjectName;
use crate::jobs::JobError;
use crate::monitor::{Counter, Monitor};
use crate::store::{PackReader, StoreError, Vault, stream_pack};
use crate::units::PackId;

/// Puts all objects in their order. One whose copy turns out to be damaged as well is lost; the others are put all the same.
pub(super) fn run(
    mirror: &Vault,
    target: &Vault,
    repairs: Vec<Repair>,
    report: &mut RepairReport,
    monitor: &dyn Monitor,
) -> Result<(), JobError> {
    let reader = PackReader::new(Arc::clone(mirror.backend()), Arc::clone(mirror.keys()), 0);
    let execution = Execution { mirror, target, reader, monitor };
    monitor.count(Counter::PlannedBytes, repairs.iter().map(|repair| repair.size_bytes).sum());
    for repair in repairs {
        if monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        match execution.put(&repair)? {
            None => report.repaired.push(repair),
            Some(reason) => {
                let own = if let Why::Damaged(reason) = &repair.why { reason } else { "missing" };
                report.lost.push((repair.name.to_string(), format!("{own}; in the mirror: {reason}")));
            }
        }
    }
    Ok(())
}

struct Execution<'a> {
    mirror: &'a Vault,
    target: &'a Vault,
    reader: PackReader,
    monitor: &'a dyn Monitor,
}

impl Execution<'_> {
    /// Puts an object; says what is wrong with the mirror's copy where that cannot be used.
    fn put(&self, repair: &Repair) -> Result<Option<String>, JobError> {
        match repair.name {
            ObjectName::Pack(pack) => self.put_pack(pack, repair),
            name => match read(self.mirror, name)? {
                Found::Sound { bytes, .. } => {
                    self.make_way(repair)?;
                    let created = self.target.backend().create(&name.to_string(), &bytes)?;
                    self.monitor.count(Counter::DoneBytes, bytes.len() as u64);
                    check_created(created, name).map(|()| None)
                }
                other => Ok(Some(other.words().to_owned())),
            },
        }
    }

    fn put_pack(&self, pack: PackId, repair: &Repair) -> Result<Option<String>, JobError> {
        let mut writer = self.target.backend().writer(&repair.name.to_string())?;
        let mut target_failed = false;
        let streamed = stream_pack(self.mirror.backend().as_ref(), pack, repair.size_bytes, &mut |bytes| {
            self.monitor.count(Counter::DoneBytes, bytes.len() as u64);
            writer.write(bytes).map_err(|error| {
                target_failed = true;
                StoreError::from(error)
            })
        });
        match streamed.and_then(|()| check_seal(&self.reader, pack)) {
            Err(error) if !target_failed && error.is_damage() => return Ok(Some(error.to_string())),
            other => other?,
        }
        self.make_way(repair)?;
        check_created(writer.finish()?, repair.name).map(|()| None)
    }

    /// Removes what is damaged, now that its replacement is at hand.
    fn make_way(&self, repair: &Repair) -> Result<(), JobError> {
        match repair.why {
            Why::Missing => Ok(()),
            Why::Damaged(_) => Ok(self.target.backend().delete(&repair.name.to_string())?),
        }
    }
}

fn check_created(created: Created, name: ObjectName) -> Result<(), JobError> {
    match created {
        Created::New => Ok(()),
        Created::Exists => Err(StoreError::Taken { name: name.to_string() }.into()),
    }
}
