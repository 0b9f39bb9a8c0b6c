//! What can go wrong around the moment of a backup. Names and codes are those that users of the modelled service know.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Which of the two scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one before the snapshot.
    Pre,
    /// The one after it.
    Post,
}

impl Which {
    /// What it is called.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Pre => "pre-script",
            Self::Post => "post-script",
        }
    }
}

/// What is wrong with a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptFault {
    /// It ran and failed; how it ended, and what it said.
    Failed {
        /// "ended with code 3".
        end: String,
        /// The end of what it wrote.
        output: String,
    },
    /// There is no such file.
    NotFound,
    /// Somebody else could have written it.
    Permission {
        /// Whose it is, or who may write it.
        why: String,
    },
    /// It did not end in time; it and its children were killed.
    Timeout {
        /// The time it had.
        seconds: u64,
        /// The end of what it wrote.
        output: String,
    },
}

/// A script that did not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptProblem {
    /// Which one.
    pub which: Which,
    /// Where it lies.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: ScriptFault,
}

impl ScriptProblem {
    /// Name and code of the problem.
    pub fn code(&self) -> (&'static str, u16) {
        match (self.which, &self.fault) {
            (Which::Pre, ScriptFault::Failed { .. }) => ("PreScriptExecutionFailed", 300),
            (Which::Post, ScriptFault::Failed { .. }) => ("PostScriptExecutionFailed", 301),
            (Which::Pre, ScriptFault::NotFound) => ("PreScriptNotFound", 302),
            (Which::Post, ScriptFault::NotFound) => ("PostScriptNotFound", 303),
            (Which::Pre, ScriptFault::Permission { .. }) => ("InsufficientPermissionforPreScript", 306),
            (Which::Post, ScriptFault::Permission { .. }) => ("InsufficientPermissionforPostScript", 307),
            (Which::Pre, ScriptFault::Timeout { .. }) => ("PreScriptTimeout", 308),
            (Which::Post, ScriptFault::Timeout { .. }) => ("PostScriptTimeout", 309),
        }
    }
}

impl fmt::Display for ScriptProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, code) = self.code();
        write!(f, "{name} ({code}): the {} '{}' ", self.which.words(), self.path.display())?;
        match &self.fault {
            ScriptFault::Failed { end, output } => write!(f, "{end}{}", Said(output)),
            ScriptFault::NotFound => f.write_str("does not exist; give its absolute path in the file of scripts"),
            ScriptFault::Permission { why } => write!(f, "is not run: {why}"),
            ScriptFault::Timeout { seconds, output } => {
                write!(f, "did not end in {seconds} s and was killed with its children{}", Said(output))
            }
        }
    }
}

/// What a program wrote, behind what became of it.
pub(super) struct Said<'a>(pub(super) &'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "; it said: {}", self.0) }
    }
}

/// The file of scripts cannot be used: no script is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: ConfigFault,
}

/// What is wrong with the file of scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigFault {
    /// It cannot be understood.
    Incorrect(String),
    /// There is none.
    NotFound,
    /// Somebody else could have written it.
    Permission(String),
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.fault {
            ConfigFault::Incorrect(why) => write!(f, "IncorrectJSONConfigFile (304): '{path}' cannot be understood: {why}"),
            ConfigFault::NotFound => write!(f, "ConfigFileNotFound (316): there is no file of scripts '{path}'"),
            ConfigFault::Permission(why) => write!(f, "InsufficientPermissionforConfigFile (317): '{path}' is not used: {why}"),
        }
    }
}

/// Why filesystems were not frozen, or not for as long as the snapshot took.
#[derive(Debug, thiserror::Error)]
pub enum FreezeProblem {
    /// The process that would thaw them cannot be had; nothing was frozen.
    #[error("FreezeFailed (121): the process that would thaw the filesystems cannot be started ({0}); nothing was frozen")]
    NoGuard(String),
    /// The kernel refused one of them; the others were thawed again.
    #[error("FreezeFailed (121): {} cannot be frozen: {why}", path.display())]
    Refused {
        /// The mount point.
        path: PathBuf,
        /// What the kernel said, for a person.
        why: String,
    },
    /// The time was over before the snapshot was taken.
    #[error(
        "FreezeTimeout (122): the filesystems were thawed after {frozen_seconds:.1} s, before the snapshot was complete; see --freeze-timeout"
    )]
    Deadline {
        /// How long they were frozen.
        frozen_seconds: f64,
    },
    /// Somebody else thawed one.
    #[error("FreezeFailed (121): another program thawed {} before the snapshot was complete", path.display())]
    ThawedByOthers {
        /// The mount point.
        path: PathBuf,
    },
    /// The process that watches over the freeze died; the filesystems were thawed by this one.
    #[error("FreezeFailed (121): the process that watches over the freeze was killed; the filesystems were thawed without it")]
    GuardDied,
    /// The kernel does not thaw it.
    #[error("{} cannot be thawed: {why}; thaw it by hand: fsfreeze -u {}", path.display(), path.display())]
    NotThawed {
        /// The mount point.
        path: PathBuf,
        /// What the kernel said.
        why: String,
    },
}

/// Why a backup was not made.
#[derive(Debug, thiserror::Error)]
pub enum QuiesceError {
    /// What was asked for cannot be meant or would stop Cairn itself; nothing was run.
    #[error("{0}")]
    Refused(String),
    /// A script did not do its work, and the file of scripts says that there is no backup then.
    #[error("there is no backup, since the machine was not brought to rest: {0}")]
    Script(ScriptProblem),
    /// A freeze did not hold, and the file of scripts says that there is no backup then.
    #[error("there is no backup, since the machine was not brought to rest: {0}")]
    Freeze(FreezeProblem),
    /// A snapshot could not be taken.
    #[error("there is no snapshot of disk {disk} to read: {why}")]
    Snapshot {
        /// The disk.
        disk: String,
        /// What went wrong.
        why: String,
    },
    /// A program could not be run at all.
    #[error("{what} cannot be run: {source}")]
    Run {
        /// The program's role.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The note of what is to be undone could not be kept.
    #[error("the note '{}' {doing}: {source}", path.display())]
    Note {
        /// The file.
        path: PathBuf,
        /// What failed: "cannot be written".
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody asked for the end.
    #[error("the backup was cancelled")]
    Cancelled,
}
