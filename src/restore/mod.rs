//! Points to targets: what of a disk differs from what is there already is written, everything else is left alone.
//!
//! Nouns: the *target* is the file or block device that becomes the disk; a target is *fresh* when it surely reads as zeros; a *batch*
//! is up to 16 neighbouring chunks, restored one after the other by one worker.
//!
//! A plan (`plan.rs`) walks the disk's map and says what is to be looked at; workers take batches from it in the order of the disk, compare
//! the target with the map's hashes, and write the chunks that differ, each only after its own hash was checked (`run.rs`). So a
//! restore that was interrupted is completed by running it again. Where a target may lie and what it may replace is decided in `place.rs`
//! before anything is written. This room reads maps and blocks; it knows no points, and it never writes to the vault.

mod busy;
mod error;
mod place;
mod plan;
mod run;
mod skipped;
mod target;
mod touched;
mod worker;

pub use error::{RestoreError, is_map_damage};
pub use place::{Place, PlaceKind, PlaceOptions, refuse_vault};
pub use run::{RestoreOptions, RestoreReport, restore_disk};
pub use skipped::{Skipped, SkippedRange};
pub use target::{FileTarget, NothingThere, Target};
