//! The last step of every writer: manifest, lists again, verdict. Whatever happens before the verdict, no user sees the point.

use std::collections::HashSet;

use jiff::Timestamp;

use super::JobError;
use crate::catalogue::points::Points;
use crate::format::point::{Decision, Manifest};
use crate::monitor::Monitor;
use crate::store::{Lease, Vault, WriteSession};
use crate::units::PackId;

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
    lease.check()?;
    if !vanished.is_empty() {
        avoid.extend(vanished);
        // Whatever the answer, this point never becomes a user's: nobody else publishes it.
        points.revoke(manifest.point, lease.id(), Timestamp::now())?;
        return Ok(false);
    }
    Ok(points.publish(manifest.point, lease.id(), Timestamp::now())? == Decision::Published)
}
