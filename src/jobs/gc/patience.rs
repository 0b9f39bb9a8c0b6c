//! How long a collector believes that the holder of a lease lives: by its own monotonic clock alone. Clocks of computers are never
//! compared.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Clock;
use crate::format::control::Lease;
use crate::format::marked::SeenLease;
use crate::io::{boot_id, monotonic};
use crate::units::LeaseId;

/// Time without a new number after which a lease has expired: ten times what its holder needs to renew it.
const EXPIRES_AFTER: Duration = Duration::from_secs(600);
/// Time between two looks at leases.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long is waited for others.
#[derive(Clone)]
pub struct Patience {
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Without a new number for so long, a lease has expired.
    pub expires_after: Duration,
    /// Time between two looks.
    pub look_every: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { clock: Arc::new(MonotonicClock), expires_after: EXPIRES_AFTER, look_every: LOOK_EVERY }
    }
}

/// The computer's clock since its start: a later process can go on with it.
struct MonotonicClock;

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        monotonic()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Leases, each with its number and when it was first seen with it.
#[derive(Default)]
pub(super) struct Seen {
    leases: HashMap<LeaseId, (u64, Duration)>,
}

impl Seen {
    /// What an earlier process saw since the computer's last start.
    pub(super) fn remembered(leases: &[SeenLease]) -> Self {
        let boot = boot_id();
        let of_this_start = leases.iter().filter(|seen| Some(seen.boot) == boot);
        Self { leases: of_this_start.map(|seen| (seen.lease, (seen.number, Duration::from_secs(seen.seconds)))).collect() }
    }

    /// The same for a later process. Seconds are rounded up, so that none is taken for dead too early.
    pub(super) fn to_remember(&self) -> Vec<SeenLease> {
        let Some(boot) = boot_id() else { return Vec::new() };
        let seen = |(lease, (number, at)): (&LeaseId, &(u64, Duration))| SeenLease {
            lease: *lease,
            number: *number,
            boot,
            seconds: at.as_secs().saturating_add(1),
        };
        self.leases.iter().map(seen).collect()
    }

    /// Takes note of a lease; for how long it has not moved.
    pub(super) fn look(&mut self, lease: &Lease, now: Duration) -> Duration {
        let seen = self.leases.entry(lease.lease).or_insert((lease.number, now));
        // A time to come is of a clock that is not this one.
        if seen.0 != lease.number || seen.1 > now + Duration::from_secs(1) {
            *seen = (lease.number, now);
        }
        now.saturating_sub(seen.1)
    }

    /// Forgets all leases but these.
    pub(super) fn keep(&mut self, held: impl Fn(&LeaseId) -> bool) {
        self.leases.retain(|lease, _| held(lease));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(number: u64) -> Lease {
        let time = jiff::Timestamp::UNIX_EPOCH;
        Lease { lease: LeaseId([1; 16]), number, collection: 0, base_points: Vec::new(), holder: String::new(), time }
    }

    const fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_stands_still_from_when_its_number_was_first_seen() {
        let mut seen = Seen::default();
        assert_eq!(seen.look(&lease(3), after(100)), after(0));
        assert_eq!(seen.look(&lease(3), after(160)), after(60));
        assert_eq!(seen.look(&lease(4), after(161)), after(0));
        assert_eq!(seen.look(&lease(4), after(761)), after(600));
        seen.keep(|_| false);
        assert_eq!(seen.look(&lease(4), after(800)), after(0));
    }

    #[test]
    fn a_later_process_goes_on_and_one_after_another_start_begins_anew() {
        let mut seen = Seen::default();
        seen.look(&lease(3), Duration::from_millis(100_500));
        let remembered = seen.to_remember();
        assert_eq!(Seen::remembered(&remembered).look(&lease(3), after(701)), after(600));
        assert_eq!(Seen::remembered(&remembered).look(&lease(4), after(701)), after(0));
        assert_eq!(Seen::remembered(&remembered).look(&lease(3), after(50)), after(0), "a clock that went backwards");
        let other = SeenLease { boot: [0xab; 16], ..remembered[0] };
        assert_eq!(Seen::remembered(&[other]).look(&lease(3), after(701)), after(0));
    }
}
