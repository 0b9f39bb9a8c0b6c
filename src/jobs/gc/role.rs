//! Steps 1 to 3: taking the collector's role, and waiting for those who began before.

use super::{Before, Collector, Role};
use crate::catalogue::points::Listing;
use crate::jobs::{JobError, points};
use crate::monitor::Problem;
use crate::store::StoreError;
use crate::store::collect::{HeldLease, claim_collection, held_leases, newest_collection, packs_present, take_lease_away};
use crate::units::LeaseId;

impl Collector<'_> {
    /// Looks at what is there, then takes the next number. A second time the same collector goes on.
    pub(super) fn take_role(&mut self, role: &mut Role) -> Result<Before, JobError> {
        let newest = self.wait_for_predecessor(role)?;
        let before = Before {
            packs: packs_present(self.vault)?.into_keys().collect(),
            pending: points::look(self.vault)?.pending.iter().map(|point| point.point()).collect(),
            unfinished: self.vault.backend().leftovers()?,
        };
        role.lease.confirm()?;
        if !claim_collection(self.vault, newest + 1, role.lease.id(), self.request.now)? {
            return Err(JobError::Collecting { holder: "somebody who began at the same moment".to_owned() });
        }
        role.number = newest + 1;
        Ok(before)
    }

    /// Returns when nobody has the role, with the number of the newest collection.
    fn wait_for_predecessor(&mut self, role: &Role) -> Result<u64, JobError> {
        let mut first = None;
        loop {
            let (newest, record) = newest_collection(self.vault)?;
            if newest == role.number && newest > 0 {
                return Ok(newest);
            }
            if role.number > 0 {
                return Err(StoreError::Overtaken { collection: role.number }.into());
            }
            let Some(record) = record else { return Ok(newest) };
            let held = held_leases(self.vault)?;
            let Some(HeldLease { lease }) = held.into_iter().find(|held| held.lease.lease == record.lease) else { return Ok(newest) };
            if *first.get_or_insert((newest, lease.number)) != (newest, lease.number) {
                return Err(JobError::Collecting { holder: lease.holder });
            }
            if self.memory.seen.look(&lease, self.patience.clock.now()) >= self.patience.expires_after {
                self.report.expired_leases += u64::from(take_lease_away(self.vault, lease.lease, lease.number)?);
            } else {
                self.monitor.step("looking whether another collection lives");
                self.pause()?;
            }
        }
    }

    /// Returns when every lease that names an older collection is gone or was taken away.
    pub(super) fn wait_for_older(&mut self, role: &Role) -> Result<(), JobError> {
        self.wait_for(role, |held| held.lease.collection < role.number)
    }

    fn wait_for(&mut self, role: &Role, which: impl Fn(&HeldLease) -> bool) -> Result<(), JobError> {
        loop {
            let held = self.living_leases(role)?;
            let waited_for: Vec<&HeldLease> = held.iter().filter(|held| which(held)).collect();
            let Some(one) = waited_for.first() else { return Ok(()) };
            let more = if waited_for.len() > 1 { format!(" and {} more", waited_for.len() - 1) } else { String::new() };
            self.monitor.step(&format!("waiting for the {}{more}", one.lease.holder));
            self.check_role(role)?;
            self.pause()?;
        }
    }

    /// All leases but our own, after those that have expired were taken away.
    fn living_leases(&mut self, role: &Role) -> Result<Vec<HeldLease>, JobError> {
        let all = held_leases(self.vault)?;
        self.memory.seen.keep(|lease| all.iter().any(|held| held.lease.lease == *lease));
        let now = self.patience.clock.now();
        let mut living = Vec::new();
        for held in all.into_iter().filter(|held| held.lease.lease != role.lease.id()) {
            let still = self.memory.seen.look(&held.lease, now);
            if still >= self.patience.expires_after && take_lease_away(self.vault, held.lease.lease, held.lease.number)? {
                self.report.expired_leases += 1;
                let message = "it has not been renewed for so long that its holder must be dead; it was taken away".to_owned();
                self.monitor.problem(Problem { subject: format!("lease of the {}", held.lease.holder), message });
            } else {
                living.push(held);
            }
        }
        Ok(living)
    }

    fn pause(&self) -> Result<(), JobError> {
        if self.monitor.cancelled() {
            return Err(JobError::Cancelled);
        }
        self.patience.clock.sleep(self.patience.look_every);
        Ok(())
    }

    /// The points that are needed: all but revoked and removed ones. Leases are read first: who has given his back has put his manifest
    /// before. Waits for leases that name a point which is gone: what such a holder refers to nobody can tell until it has published.
    pub(super) fn needed_points(&mut self, role: &Role) -> Result<Listing, JobError> {
        loop {
            let held = self.living_leases(role)?;
            let listing = points::look(self.vault)?;
            self.check_lost(&listing)?;
            let all = listing.points.iter().chain(&listing.deleted).chain(&listing.pending);
            let there: Vec<_> = all.map(|point| point.point()).collect();
            let names_a_lost_one = |held: &&HeldLease| held.lease.base_points.iter().any(|point| !there.contains(point));
            let blocking: Vec<LeaseId> = held.iter().filter(names_a_lost_one).map(|held| held.lease.lease).collect();
            if blocking.is_empty() {
                return Ok(listing);
            }
            self.wait_for(role, |held| blocking.contains(&held.lease.lease))?;
        }
    }

    /// Refuses where a point is there of which nobody can tell what it needs.
    pub(super) fn check_lost(&self, listing: &Listing) -> Result<(), JobError> {
        let lost = listing.problems.iter().find(|problem| problem.hides_what_is_needed());
        match lost.filter(|_| !self.request.give_up_lost_points) {
            None => Ok(()),
            Some(problem) => Err(JobError::PointsLost { point: problem.point, reason: problem.error.to_string() }),
        }
    }

    /// Checks that the role is still ours: our lease was not taken away, and nobody has the next number.
    pub(super) fn check_role(&self, role: &Role) -> Result<(), JobError> {
        role.lease.confirm()?;
        let (newest, _) = newest_collection(self.vault)?;
        if newest == role.number { Ok(()) } else { Err(StoreError::Overtaken { collection: role.number }.into()) }
    }
}
