//! What happens around the moment of a backup: scripts that bring applications to rest, filesystems that are frozen, snapshots that are
//! read instead of the disks.
//!
//! Nouns: the *file of scripts* names a *pre-script* and a *post-script*. A *freeze* lasts from the first frozen filesystem to the last
//! thawed one; the *guard* is the process that ends it whatever happens to Cairn. A machine is at *rest* between its pre- and its
//! post-script. The *account* tells what was done, and the *label* (application, filesystem, crash) is earned by what held, not by what
//! was wished for. What must be undone after a crash is *owed*, in a note.
//!
//! This room knows no vault and no format: it is told what Cairn writes to, and takes the snapshot by somebody else's hand. It may stop a
//! machine's programs, so everything here is made to end: each program has its time and is killed with its children, each freeze has a
//! deadline in a process of its own, and a post-script follows every pre-script.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod account;
mod command;
mod config;
mod error;
mod freeze;
mod guard;
mod helper;
mod options;
mod owed;
mod permit;
mod place;
mod program;
mod rest;
mod rules;
mod run;
mod scripts;
mod supervise;

pub use account::{ACCOUNT_NAME, Account, FreezeAccount, ScriptAccount, ScriptsAccount};
pub use command::CommandLine;
pub use error::{ConfigFault, ConfigProblem, FreezeProblem, QuiesceError, ScriptFault, ScriptProblem, Which};
pub use helper::helper_main;
pub use options::{DEFAULT_FREEZE_SECONDS, Options, Snapshot};
pub use owed::recover;
pub use place::Protected;
pub use rest::{DiskPlace, Occasion, Rest, Setup};
pub use rules::Label;
pub use run::Helper;
