//! Bytes in and out of every object of a vault, and nothing else: no I/O, no keys, no policy.
//!
//! `FORMAT.md` beside this file is the byte-exact text; nothing else repeats it. Decoding parses into the types here only after
//! every number was checked; an unknown incompatible feature bit refuses, an unknown compatible one passes.

#![doc = include_str!("FORMAT.md")]
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)]

mod bytes;
pub mod control;
pub mod envelope;
mod error;
pub mod index;
pub mod known;
mod manifest;
pub mod map;
pub mod marked;
pub mod names;
mod node;
pub mod pack;
pub mod point;
pub mod segment;
pub mod settings;
mod trailer;
pub mod vault;

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "tests compute with numbers of their own")]
mod tests;

pub use error::FormatError;
