//! Keys, and what is done with them: fingerprints, node ids, sealing of packs and small objects, key slots.
//!
//! Nothing here knows where an object lies or does I/O. Each pack has a key of its own and a nonce that is its frame's number; each
//! small object has a key of its own, derived from its kind and name, so that neither keys nor nonces can be mistaken for
//! another's. FORMAT.md says how each key is derived.

mod error;
mod object;
mod pack;
mod secret;
pub mod slot;
mod vault;

#[cfg(test)]
mod tests;

pub use error::CryptError;
pub use object::OpenObject;
pub use pack::{FrameSealer, PackOpener, PackSealer};
pub use secret::{MasterKey, SecretBytes, random};
pub use vault::{Fingerprinter, VaultKeys};
