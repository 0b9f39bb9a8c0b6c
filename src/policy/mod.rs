//! Schedules and retention as pure functions that give their reasons: when a backup is due, which points are kept, why, and until when.
//!
//! Nothing here knows a vault, a file or the present time: moments come in as arguments. Only time zones are looked up, by their IANA
//! names, in the system's database or in the one that is built in.
//!
//! A policy is written as text, on the command line and in the vault: `daily 20:30 in Europe/Berlin` and `daily 7 + monthly 12 on first sun`.
//! Both read back what they show.
//!
//! # The two clock changes of a year
//!
//! A schedule speaks of times on the wall clock of its zone. When clocks go forward, some times of that day do not exist: what is due
//! at such a time runs at the first moment after the gap, and several such times make one run. When clocks go back, some times exist
//! twice: what is due at such a time runs once, the first time. A run is therefore never left out and never doubled.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions)]

mod error;
mod numbers;
mod retention;
mod schedule;

pub use error::PolicyError;
pub use retention::{Candidate, Decision, Keep, MonthDays, Policy, Reason, Retention, Simulation, Until, Why, YearDays, decide, simulate};
pub use schedule::{Calendar, Rule, Schedule, TimeOfDay, Timetable, Weekdays, Zone};
