//! Why settings were not changed, or a policy cannot be used.

use jiff::Timestamp;

use crate::policy::PolicyError;
use crate::units::MachineName;

/// A failure that has to do with policies or with the protection of points.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A policy of the vault cannot be used here.
    #[error("the policy {policy} cannot be used: {source}")]
    Policy {
        /// The policy.
        policy: MachineName,
        /// Why.
        source: PolicyError,
    },
    /// No such policy.
    #[error("there is no policy {name}; `cairn policy list` shows those that are there")]
    NoSuchPolicy {
        /// What was asked for.
        name: MachineName,
    },
    /// A policy of that name is there.
    #[error("there is a policy {name} already; change it with `cairn policy edit`, or choose another name")]
    PolicyExists {
        /// The name.
        name: MachineName,
    },
    /// A policy that is used cannot be removed.
    #[error("the policy {name} is {used}; assign another first")]
    PolicyUsed {
        /// The policy.
        name: MachineName,
        /// By whom.
        used: String,
    },
    /// Something that would keep less, while the vault is immutable.
    #[error(
        "{what} from '{from}' to '{to}' would keep less, and the vault is immutable{}", 
        if *.locked { ", for ever" } else { "; `cairn immutability disabled` ends that" }
    )]
    Shortened {
        /// What would change.
        what: String,
        /// What it is.
        from: String,
        /// What it would be.
        to: String,
        /// Whether immutability is locked.
        locked: bool,
    },
    /// Immutability that is locked can only grow.
    #[error("immutability is locked for {days} days: it cannot be undone or shortened, only lengthened")]
    Locked {
        /// The days.
        days: u16,
    },
    /// A clock that is behind what the vault has seen.
    #[error(
        "this computer's clock says {now}, but the vault has seen {seen}: nothing is deleted, since one of the two is wrong. Set the clock; \
         or, if it is right and a wrong clock wrote that time, use --trust-clock"
    )]
    ClockBehind {
        /// What this computer's clock says.
        now: Timestamp,
        /// The vault's latest time.
        seen: Timestamp,
    },
}
