//! The directories of a local store: made on demand, and durable before anything is put into them.
//!
//! A file survives a loss of power only if the names of all directories above it do. Another process may have made such a
//! directory and not yet synced its name, so this process syncs the parent of each directory that it uses, once.

use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::io::sync_directory;

/// Names of directories that are remembered; past this, all are forgotten and synced again when used.
const REMEMBERED: usize = 1 << 14;

/// The root and what is known of the directories below it.
#[derive(Debug)]
pub(super) struct Directories {
    root: PathBuf,
    /// Device and inode of the root when it was opened.
    identity: (u64, u64),
    durable: Mutex<HashSet<String>>,
}

impl Directories {
    /// Takes an existing directory as the root.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        let metadata = fs::metadata(&root)?;
        if !metadata.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { root, identity: (metadata.dev(), metadata.ino()), durable: Mutex::default() })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that holds `name`.
    pub(super) fn above(&self, name: &str) -> PathBuf {
        name.rsplit_once('/').map_or_else(|| self.root.clone(), |(directory, _)| self.root.join(directory))
    }

    /// An error where the root is no longer the directory that was opened: moved, removed, or its filesystem unmounted.
    pub(super) fn check_root(&self) -> io::Result<()> {
        let gone = |detail: &str| io::Error::other(format!("the store's directory {detail}: was it moved, removed or unmounted?"));
        match fs::metadata(&self.root) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == self.identity => Ok(()),
            Ok(_) => Err(gone("is another than before")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(gone("is gone")),
            Err(error) => Err(error),
        }
    }

    /// Makes the directories on the way to the object `name` where they are missing, and all of them durable.
    pub(super) fn prepare(&self, name: &str) -> io::Result<()> {
        self.for_each_above(name, make)
    }

    /// Makes the names in the directory `prefix` (empty, or ending in `/`) durable, and those of the directories on the way to it.
    pub(super) fn sync(&self, prefix: &str) -> io::Result<()> {
        self.for_each_above(prefix, |path| fs::metadata(path).map(drop))?;
        sync_directory(&self.root.join(prefix))
    }

    /// Calls `visit` for each directory named before a `/` in `name`, outermost first, then syncs its parent; but skips those
    /// that went through this before.
    fn for_each_above(&self, name: &str, visit: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
        for (end, _) in name.match_indices('/') {
            let directory = &name[..end];
            if self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(directory) {
                continue;
            }
            visit(&self.root.join(directory))?;
            sync_directory(&self.above(directory))?;
            let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
            if durable.len() >= REMEMBERED {
                durable.clear();
            }
            durable.insert(directory.to_owned());
        }
        Ok(())
    }
}

/// Makes one directory that only its owner may enter; no error where it exists.
fn make(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Makes a directory and the missing ones above it, durably.
pub(super) fn make_all(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    for directory in missing.into_iter().rev() {
        make(directory)?;
        if let Some(parent) = directory.parent() {
            sync_directory(parent)?;
        }
    }
    Ok(())
}
