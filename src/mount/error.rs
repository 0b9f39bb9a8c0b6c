//! Why a tree cannot be mounted.

use std::io;
use std::path::PathBuf;

/// What a person reads where there is no FUSE.
const WITHOUT_FUSE: &str = "cairn ls, cat, cp and tar need no FUSE";

/// Why a tree cannot be mounted, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// No such directory.
    #[error("there is no directory {path}; make it first: mkdir -p {path}", path = .path.display())]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// Something else than a directory.
    #[error("{} is no directory; name an empty one", .path.display())]
    NoDirectory {
        /// Where.
        path: PathBuf,
    },
    /// It has something in it, which a mount would hide.
    #[error("{} is not empty; a mount would hide what is in it: name an empty directory", .path.display())]
    NotEmpty {
        /// Where.
        path: PathBuf,
    },
    /// Something is mounted there.
    #[error("{path} has {what} mounted on it already; end that with: {cure}", path = .path.display())]
    Mounted {
        /// Where.
        path: PathBuf,
        /// What, as the system names it.
        what: String,
        /// How to end it.
        cure: String,
    },
    /// It may not be looked into.
    #[error("{} cannot be used: {source}", .path.display())]
    Denied {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The kernel has no FUSE, or it is kept from us.
    #[error("this system has no FUSE (/dev/fuse: {source}); load it with: modprobe fuse. {WITHOUT_FUSE}")]
    NoFuse {
        /// What the system says.
        source: io::Error,
    },
    /// Without root, and without the program that mounts for others.
    #[error("mounting without root takes the program fusermount3, which is not here; install the package fuse3. {WITHOUT_FUSE}")]
    NoHelper,
    /// Others may look only where the administrator allows it.
    #[error("--allow-other without root takes the line 'user_allow_other' in /etc/fuse.conf")]
    OthersNotAllowed,
    /// The system refused.
    #[error("{} cannot be mounted on: {source}", .path.display())]
    Refused {
        /// Where.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// It broke off.
    #[error("the mount at {} broke off: {source}", .path.display())]
    Broken {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}
