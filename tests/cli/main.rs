//! The command line from outside: the binary is run as a person or a script would run it.
#![expect(clippy::unwrap_used, reason = "a test ends where its helper fails")]

mod backup;
mod clones;
mod damage;
mod files;
mod frame;
mod fuse;
mod guest;
mod images;
mod interrupt;
mod jobs;
mod machines;
mod mount;
mod mounted;
mod place;
mod points;
mod policy;
mod quiesce;
mod recover;
mod refused;
mod restore;
mod schedule;
mod second;
mod status;
mod systems;
mod trouble;
mod vault;
mod verify;
