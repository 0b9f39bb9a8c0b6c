//! Which machines are to be backed up when: what this host was told, and what the vault says.

use std::collections::BTreeMap;

use cairn::catalogue::points::Listing;
use cairn::host::{Machine, Machines};
use cairn::jobs::policies::Policies;
use cairn::policy::{Schedule, Timetable};
use cairn::units::MachineName;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A machine, as this host and the vault know it.
#[derive(Debug, Clone)]
pub(crate) struct Protected {
    /// Its definition; `None` for one that only the vault knows.
    pub(crate) machine: Option<Machine>,
    /// When it is backed up; `None` where nothing says so.
    pub(crate) schedule: Option<Schedule>,
    /// Its recovery points.
    pub(crate) points: Points,
}

/// What the vault has of a machine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Points {
    /// How many points.
    pub(crate) count: u64,
    /// When the latest one was made.
    pub(crate) last: Option<Timestamp>,
    /// What was added for each of them: when, and how many bytes.
    pub(crate) stored: Vec<(Timestamp, u64)>,
}

impl Protected {
    /// When it is backed up, ready to be asked.
    pub(crate) fn timetable(&self) -> Option<Timetable> {
        self.schedule.as_ref().map(|schedule| schedule.timetable(&TimeZone::system()))
    }
}

/// All machines by name: those defined on this host, and those of which the vault has points. A machine is backed up as its definition
/// says, else by its policy. Definitions that cannot be followed, and policies that this host does not understand, are given as texts.
pub(crate) fn all(
    machines: &Machines,
    policies: &Policies,
    listing: &Listing,
) -> anyhow::Result<(BTreeMap<MachineName, Protected>, Vec<String>)> {
    let known = machines.all()?;
    let mut problems: Vec<String> = known.problems.iter().map(ToString::to_string).collect();
    let mut points: BTreeMap<&MachineName, Points> = BTreeMap::new();
    for point in &listing.points {
        let manifest = &point.manifest;
        let points = points.entry(&manifest.machine).or_default();
        points.count += 1;
        points.last = points.last.max(Some(manifest.time));
        points.stored.push((manifest.time, manifest.disks.iter().map(|disk| disk.statistics.stored_bytes).sum()));
    }
    let mut all = BTreeMap::new();
    for machine in known.machines {
        let schedule = match (&machine.schedule, policies.of_machine(&machine.name)) {
            (Some(own), _) => Some(own.clone()),
            (None, Ok((_, policy))) => policy.schedule,
            (None, Err(error)) => {
                problems.push(format!("{} is not backed up by schedule: {error}", machine.name));
                None
            }
        };
        let points = points.remove(&machine.name).unwrap_or_default();
        all.insert(machine.name.clone(), Protected { machine: Some(machine), schedule, points });
    }
    for (name, points) in points {
        all.insert(name.clone(), Protected { machine: None, schedule: None, points });
    }
    Ok((all, problems))
}
