//! The first and the last step of every writer: a lease that keeps the base, and manifest, lists again, verdict. Whatever happens before
//! the verdict, no user sees the point.

use std::collections::HashSet;

use jiff::Timestamp;

use super::JobError;
use crate::catalogue::points::Points;
use crate::format::names::ObjectName;
use crate::format::point::{Decision, Manifest};
use crate::monitor::Monitor;
use crate::store::{Lease, StoreError, Vault, WriteSession};
use crate::units::{PackId, PointId};

/// A lease that names base points. `None`: a collection took one of them away after it was listed, and before the lease could keep it.
pub(super) fn lease_on(vault: &Vault, base_points: &[PointId], holder: &str) -> Result<Option<Lease>, JobError> {
    let lease = Lease::take(vault, base_points, holder)?;
    for point in base_points {
        if vault.backend().size_bytes(&ObjectName::Point(*point).to_string())?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(lease))
}

/// Publishes a point whose blocks and nodes are durable. `false`: a collection took away what it refers to, or revoked it; `avoid` then
/// has the packs that are gone, and the writer begins again.
pub(super) fn publish(
    vault: &Vault,
    manifest: &Manifest,
    lease: &Lease,
    session: &WriteSession,
    avoid: &mut HashSet<PackId>,
    monitor: &dyn Monitor,
) -> Result<bool, JobError> {
    if monitor.cancelled() {
        return Err(JobError::Cancelled);
    }
    monitor.step("publishing");
    let points = Points::new(vault.backend().as_ref(), vault.keys());
    points.put(manifest)?;
    let vanished = session.vanished()?;
    // Asked last: who took the lease for abandoned lists points after that, and sees this one.
    let lost = lease.confirm();
    if !vanished.is_empty() || matches!(lost, Err(StoreError::LeaseLost { .. })) {
        avoid.extend(vanished);
        // Whatever the answer, this point never becomes a user's: nobody else publishes it.
        points.revoke(manifest.point, lease.id(), Timestamp::now())?;
        return Ok(false);
    }
    Ok(points.publish(manifest.point, lease.id(), Timestamp::now())? == Decision::Published)
}
