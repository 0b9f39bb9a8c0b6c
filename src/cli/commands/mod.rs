//! One file a command: its options and help, what they mean, one call of the library, the result shown.

pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod cat;
pub(crate) mod completions;
pub(crate) mod cp;
pub(crate) mod diff;
pub(crate) mod find;
pub(crate) mod immutability;
pub(crate) mod index;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod mount;
pub(crate) mod points;
pub(crate) mod policy;
pub(crate) mod prune;
pub(crate) mod restore;
pub(crate) mod show;
pub(crate) mod stat;
pub(crate) mod stats;
pub(crate) mod tar;
pub(crate) mod verify;
pub(crate) mod versions;
pub(crate) mod volumes;
