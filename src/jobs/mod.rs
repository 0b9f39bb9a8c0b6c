//! The use cases: one module for each thing that a person can ask Cairn to do. The only room that knows all the others.
//!
//! A job takes plain data, does its work and returns plain data; it prints nothing and asks nobody. Long ones take a
//! [`Monitor`](crate::monitor::Monitor) as their last argument.

pub mod backup;
pub mod bench;
mod births;
pub mod copy;
pub mod deletion;
pub mod diff;
mod error;
pub mod gc;
pub mod index;
pub mod keys;
pub mod mirror;
pub mod nodes;
pub mod points;
pub mod policies;
pub mod prune;
mod publish;
pub mod recover;
pub mod repair;
pub mod restore;
pub mod sources;
pub mod stats;
pub mod vault;
pub mod verify;

pub use error::{ErrorKind, JobError};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
