//! The changed-block scanner: a pure plan, then workers that read, hash and compare, in parallel and in bounded memory.
//!
//! It asks [`Dedup`] what the vault has and tells a [`Sink`] what it found; it knows neither the store nor disk maps.

mod chunk;
mod error;
mod plan;
mod run;
#[cfg(test)]
mod tests;

pub use chunk::{BlockState, Dedup, Found, Known, is_zero, padded};
pub use error::ScanError;
pub use plan::{HintPlan, PlanKind, PlanStep, plan, planned_read_bytes};
pub use run::{Examiner, ScanChunk, Sink, Step, run};
