//! Steps 4 and 5: what writers have given up, and points whose time is over.

use std::collections::HashSet;

use super::{Before, Collector, Role};
use crate::catalogue::points::{Listing, PointSummary, Points};
use crate::format::names::{ObjectName, PACKS};
use crate::format::point::Decision;
use crate::jobs::deletion::Deletions;
use crate::jobs::{JobError, points, policies};
use crate::monitor::Problem;
use crate::store::collect::{held_leases, remove_object};
use crate::units::PointId;

impl Collector<'_> {
    /// The vault's rules about deleted points.
    pub(super) fn deletions(&self, listing: &Listing) -> Result<Deletions, JobError> {
        let settings = policies::load(self.vault)?.settings;
        let deletions = Deletions::new(&settings, listing, self.request.now, self.request.trust_clock);
        Ok(self.request.soft_delete_days.map_or(deletions, |days| deletions.with_soft_delete_days(days)))
    }

    /// Revokes points whose writers are gone, and removes files that nobody writes to any more.
    pub(super) fn give_up(&mut self, role: &Role, before: &Before) -> Result<(), JobError> {
        let points = Points::new(self.vault.backend().as_ref(), self.vault.keys());
        for point in &before.pending {
            self.check_role(role)?;
            match points.revoke(*point, role.lease.id(), self.request.now) {
                Ok(Decision::Revoked) => self.report.revoked_points += 1,
                Ok(Decision::Published) => {}
                // A verdict that is there and cannot be read is no revocation: the point is kept.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Only writers of packs hold leases: other files may be under way.
        for unfinished in before.unfinished.iter().filter(|unfinished| unfinished.path.starts_with(PACKS)) {
            self.vault.backend().remove_leftover(unfinished)?;
            self.report.unfinished_files += 1;
            self.report.unfinished_bytes += unfinished.size_bytes;
        }
        Ok(())
    }

    /// Removes points whose time in soft delete is over, and manifests of revoked ones.
    pub(super) fn remove_points(&mut self, role: &Role) -> Result<(), JobError> {
        let listing = points::look(self.vault)?;
        let named: HashSet<PointId> = held_leases(self.vault)?.into_iter().flat_map(|held| held.lease.base_points).collect();
        let points = Points::new(self.vault.backend().as_ref(), self.vault.keys());
        let deletions = self.deletions(&listing)?;
        if let Err(error) = deletions.check_clock()
            && !listing.deleted.is_empty()
        {
            self.monitor.problem(Problem { subject: "deleted points".to_owned(), message: format!("they stay: {error}") });
        }
        let over = |point: &&PointSummary| deletions.is_over(point.manifest.time, point.state.as_ref());
        for point in listing.deleted.iter().filter(over).filter(|point| !named.contains(&point.point())) {
            if self.monitor.cancelled() {
                return Err(JobError::Cancelled);
            }
            self.check_role(role)?;
            match points.remove(point.point(), self.request.now, |state| deletions.is_over(point.manifest.time, Some(state))) {
                Ok(true) => self.report.removed_points.push(point.name()),
                Ok(false) => {}
                Err(error) if error.is_damage() => {
                    let message = format!("{error}; it is kept");
                    self.monitor.problem(Problem { subject: point.name(), message });
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.remove_revoked(role, &listing.revoked)
    }

    /// The verdict stays for ever: a writer that was stopped must find it when it goes on.
    fn remove_revoked(&mut self, role: &Role, revoked: &[PointId]) -> Result<(), JobError> {
        for point in revoked {
            self.check_role(role)?;
            remove_object(self.vault, ObjectName::Point(*point))?;
        }
        Ok(())
    }
}
