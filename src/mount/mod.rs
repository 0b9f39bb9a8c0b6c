//! A tree as a mounted filesystem, by FUSE: translation only.
//!
//! Who may read: the user who mounted, everything, whatever the guest's modes say, since he could read the vault as well. With
//! `allow_other` everybody else too, and then the kernel holds all of them to the guest's owners and modes. Device nodes and setuid
//! bits are shown and have no effect.

mod answers;
mod error;
mod filesystem;
mod handles;
mod inodes;
mod place;

pub use error::MountError;
pub use filesystem::OnProblem;

use std::path::{Path, PathBuf};

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};

use crate::tree::Tree;
use filesystem::TreeFilesystem;

/// How a tree is mounted.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// What the table of mounts names as its source.
    pub name: String,
    /// Whether users other than the one who mounts may look in.
    pub allow_other: bool,
}

/// A mounted tree. Dropped, it is unmounted.
pub struct Mounted {
    path: PathBuf,
    session: BackgroundSession,
    /// Whether a mount was there whose program had died.
    pub cleaned: bool,
}

/// Mounts a tree on an empty directory; it is served by threads of its own when this returns.
///
/// # Errors
/// [`MountError`], with what to do.
pub fn mount<T>(tree: T, path: &Path, options: &MountOptions, on_problem: Box<OnProblem>) -> Result<Mounted, MountError>
where
    T: Tree + 'static,
    T::Spot: 'static,
{
    let cleaned = place::prepare(path)?;
    place::check_fuse(options.allow_other)?;
    let refused = |source| MountError::Refused { path: path.to_owned(), source };
    let session = Session::new(TreeFilesystem::new(tree, on_problem), path, &config(options)).map_err(refused)?;
    let session = session.spawn().map_err(refused)?;
    place::raise_read_ahead(path);
    Ok(Mounted { path: path.to_owned(), session, cleaned })
}

fn config(options: &MountOptions) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
        MountOption::FSName(options.name.clone()),
        MountOption::Subtype("cairn".to_owned()),
    ];
    if options.allow_other {
        config.acl = SessionACL::All;
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    // More than cores: a thread that waits for the vault, or for a frame that another one decodes, leaves the others to answer.
    config.n_threads = Some(rayon::current_num_threads().max(2) * 4);
    config.clone_fd = true;
    config
}

/// Ends a mount from another thread.
#[derive(Debug, Clone)]
pub struct Unmounter(PathBuf);

impl Unmounter {
    /// Takes the mount out of the tree of directories. Who has files open reads on; [`Mounted::wait`] returns when the last is closed.
    ///
    /// # Errors
    /// What the system says.
    pub fn unmount(&self) -> std::io::Result<()> {
        place::detach(&self.0)
    }
}

impl Mounted {
    /// What ends it.
    #[must_use]
    pub fn unmounter(&self) -> Unmounter {
        Unmounter(self.path.clone())
    }

    /// Serves until it is unmounted, by whomever.
    ///
    /// # Errors
    /// [`MountError::Broken`].
    pub fn wait(self) -> Result<(), MountError> {
        let Self { path, session, .. } = self;
        session.join().map_err(|source| MountError::Broken { path, source })
    }
}
