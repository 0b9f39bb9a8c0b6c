//! Bytes in and out of every object of a vault, and nothing else: no I/O, no keys, no policy.
//!
//! `FORMAT.md` beside this file is the byte-exact text; nothing else repeats it. Decoding parses into the types here only after
//! every number was checked; an unknown incompatible feature bit refuses, an unknown compatible one passes.

pub mod control;
pub mod map;
pub mod pack;
pub mod point;
pub mod vault;
