//! What can go wrong with what this host keeps of its machines and jobs.

use std::io;
use std::path::PathBuf;

use crate::units::MachineName;

/// An error of this room.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file or directory cannot be used.
    #[error("'{path}' cannot be {doing}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done: "read", "written".
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else could change what Cairn is told to do.
    #[error("'{path}' {why}, so it is not followed: it names programs and files for Cairn to use; {cure}")]
    Unsafe {
        /// The file or directory.
        path: PathBuf,
        /// Who may change it.
        why: String,
        /// What to do about it.
        cure: String,
    },
    /// A file does not say what it should.
    #[error("'{path}' cannot be understood: {why}")]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
    /// A definition contradicts itself.
    #[error("the definition of {machine} cannot be meant: {why}")]
    Definition {
        /// The machine.
        machine: MachineName,
        /// What is wrong.
        why: String,
    },
    /// There is no machine of this name.
    #[error("no machine is called {machine} here; `cairn machine list` shows those that are, `cairn machine add` defines one")]
    NoMachine {
        /// The name.
        machine: MachineName,
    },
    /// The name is taken.
    #[error("a machine is called {machine} already; `cairn machine edit {machine}` changes it")]
    MachineExists {
        /// The name.
        machine: MachineName,
    },
    /// Somebody else holds a lock.
    #[error("{what} is running already{}; `cairn jobs` tells what it does", process(*.holder))]
    Locked {
        /// What holds it: "a scheduler", "a backup of web01".
        what: String,
        /// The process, where it says.
        holder: Option<u32>,
    },
    /// The record of jobs cannot be used.
    #[error("the record of jobs '{path}': {why}")]
    Record {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A scheduler does not learn what there is to do.
    #[error("what there is to do cannot be found out: {why}")]
    Plan {
        /// Why not.
        why: String,
    },
    /// There is no such job.
    #[error("there is no job {id}; `cairn jobs --all` lists them")]
    NoJob {
        /// Its number.
        id: i64,
    },
    /// A job cannot be cancelled.
    #[error("job {id} cannot be cancelled: {why}")]
    Cancel {
        /// Its number.
        id: i64,
        /// Why not.
        why: String,
    },
    /// A hook did not do its work.
    #[error("the hook '{hook}' failed: {why}")]
    Hook {
        /// The command or the address.
        hook: String,
        /// What happened.
        why: String,
    },
}

/// The process, where it is known.
fn process(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl HostError {
    /// An error of the system on a file.
    pub(super) fn file(path: impl Into<PathBuf>, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, doing, source }
    }
}
