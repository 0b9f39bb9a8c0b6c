//! Recovery points: which of their objects come back, and the roots of all maps that must be readable then.

use std::collections::{BTreeMap, BTreeSet};

use super::objects::{Found, Opened, names, read};
use super::plan::{Plan, Why};
use crate::backend::map_parallel;
use crate::format::map::Child;
use crate::format::names::{ObjectName, POINTS, STATES, VERDICTS};
use crate::format::point::Decision;
use crate::jobs::JobError;
use crate::monitor::Monitor;
use crate::store::Vault;
use crate::units::PointId;

/// The numbers of a point's states on one side, ascending.
type States = BTreeMap<PointId, BTreeSet<u64>>;

/// What is to be done for one point.
#[derive(Default)]
struct PointPlan {
    repairs: Plan,
    roots: Vec<Child>,
}

/// Plans all points of either side; gives the roots of the maps of those that the vault has, or will have.
pub(super) fn plan(mirror: &Vault, target: &Vault, plan: &mut Plan, monitor: &dyn Monitor) -> Result<Vec<Child>, JobError> {
    let mut points = BTreeSet::new();
    for vault in [mirror, target] {
        for prefix in [POINTS, VERDICTS, STATES] {
            points.extend(names(vault, prefix)?.iter().filter_map(|(name, _)| point_of(name)));
        }
    }
    let sides = Sides { mirror, target, mirror_states: states(mirror)?, target_states: states(target)? };
    let points: Vec<PointId> = points.into_iter().collect();
    let at_once = mirror.backend().parallel_requests().max(target.backend().parallel_requests());
    let planned = map_parallel(&points, at_once, |point| if monitor.cancelled() { Err(JobError::Cancelled) } else { sides.point(*point) });
    let mut roots = Vec::new();
    for point in planned {
        let PointPlan { repairs, roots: more } = point?;
        repairs.repairs.into_iter().for_each(|repair| plan.put(repair.name, repair.size_bytes, repair.why));
        plan.lost.extend(repairs.lost);
        roots.extend(more);
    }
    Ok(roots)
}

fn point_of(name: &ObjectName) -> Option<PointId> {
    match name {
        ObjectName::Point(point) | ObjectName::Verdict(point) | ObjectName::State(point, _) => Some(*point),
        _ => None,
    }
}

fn states(vault: &Vault) -> Result<States, JobError> {
    let mut states = States::new();
    for (name, _) in names(vault, STATES)? {
        if let ObjectName::State(point, number) = name {
            states.entry(point).or_default().insert(number);
        }
    }
    Ok(states)
}

struct Sides<'a> {
    mirror: &'a Vault,
    target: &'a Vault,
    mirror_states: States,
    target_states: States,
}

impl Sides<'_> {
    fn point(&self, point: PointId) -> Result<PointPlan, JobError> {
        let mut plan = PointPlan::default();
        let decision = self.decision(point, &mut plan.repairs)?;
        if decision == Some(Decision::Revoked) {
            return Ok(plan);
        }
        let deleted = self.is_deleted(point, &mut plan.repairs)?;
        self.manifest(point, deleted, &mut plan)?;
        Ok(plan)
    }

    /// What was decided about the point, as either side says.
    fn decision(&self, point: PointId, plan: &mut Plan) -> Result<Option<Decision>, JobError> {
        let of = |found: &Found| if let Some(Opened::Verdict(verdict)) = found.opened() { Some(verdict.decision) } else { None };
        let name = ObjectName::Verdict(point);
        let there = read(self.target, name)?;
        let Some(why) = there.why() else { return Ok(of(&there)) };
        let copy = read(self.mirror, name)?;
        match (&there, &copy) {
            (_, Found::Sound { .. }) => plan.put(name, copy.size_bytes(), why),
            // On neither side: the point is pending.
            (Found::Missing, Found::Missing) => {}
            _ => plan.lose(name, format!("{}; in the mirror: {}", there.words(), copy.words())),
        }
        Ok(of(&copy))
    }

    /// Whether the point's last state, as it will be, says that it was deleted.
    fn is_deleted(&self, point: PointId, plan: &mut Plan) -> Result<bool, JobError> {
        let none = BTreeSet::new();
        let there = self.target_states.get(&point).unwrap_or(&none);
        let copies = self.mirror_states.get(&point).unwrap_or(&none);
        // From the highest number of either side down to the first that is sound: lower ones no longer matter.
        let numbers: BTreeSet<u64> = there.union(copies).copied().collect();
        for number in numbers.into_iter().rev() {
            let name = ObjectName::State(point, number);
            let own = read(self.target, name)?;
            let deleted = |found: &Found| matches!(found.opened(), Some(Opened::State(state)) if state.deleted.is_some());
            let Some(why) = own.why() else { return Ok(deleted(&own)) };
            let copy = read(self.mirror, name)?;
            if copy.opened().is_some() {
                plan.put(name, copy.size_bytes(), why);
                return Ok(deleted(&copy));
            }
            plan.lose(name, format!("{}; in the mirror: {}", own.words(), copy.words()));
        }
        Ok(false)
    }

    fn manifest(&self, point: PointId, deleted: bool, plan: &mut PointPlan) -> Result<(), JobError> {
        let name = ObjectName::Point(point);
        let own = read(self.target, name)?;
        let Some(why) = own.why() else {
            plan.roots.extend(roots(&own));
            return Ok(());
        };
        // A deleted point without manifest is one that was collected.
        if deleted && why == Why::Missing {
            return Ok(());
        }
        let copy = read(self.mirror, name)?;
        match copy.opened() {
            Some(_) => plan.repairs.put(name, copy.size_bytes(), why),
            None => plan.repairs.lose(name, format!("{}; in the mirror: {}", own.words(), copy.words())),
        }
        plan.roots.extend(roots(&copy));
        Ok(())
    }
}

fn roots(found: &Found) -> Vec<Child> {
    match found.opened() {
        Some(Opened::Manifest(manifest)) => manifest.disks.iter().map(|disk| disk.root).collect(),
        _ => Vec::new(),
    }
}
