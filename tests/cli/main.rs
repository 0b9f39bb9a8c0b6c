//! The command line from outside: the binary is run as a person or a script would run it.
#![expect(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod backup;
mod clones;
mod damage;
mod files;
mod frame;
mod images;
mod interrupt;
mod mount;
mod mounted;
mod place;
mod points;
mod policy;
mod restore;
mod trouble;
mod vault;
mod verify;
