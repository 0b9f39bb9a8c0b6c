//! Somebody who works on files: makes, writes, cuts, renames, links and removes them, and now and then syncs one.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FallocateFlags, RenameFlags, XattrFlags, fallocate, ioctl_ficlone, lremovexattr, lsetxattr, renameat_with};

use crate::guestfs::testing::Noise;

/// One writer, who does the same for the same seed.
pub(super) struct Writer {
    noise: Noise,
    roots: Vec<PathBuf>,
    made: usize,
}

/// What is below a directory, in an order that does not depend on anything else.
fn paths(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut files, mut directories) = (Vec::new(), vec![root.to_owned()]);
    let mut at = 0;
    while let Some(directory) = directories.get(at).cloned() {
        let mut entries: Vec<PathBuf> = fs::read_dir(&directory).expect("a directory").map(|entry| entry.expect("read").path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() && !path.is_symlink() { directories.push(path) } else { files.push(path) }
        }
        at += 1;
    }
    (files, directories)
}

impl Writer {
    pub(super) fn new(seed: u64, roots: Vec<PathBuf>) -> Self {
        Self { noise: Noise::new(seed), roots, made: 0 }
    }

    fn pick<'a>(&mut self, all: &'a [PathBuf]) -> &'a PathBuf {
        &all[self.noise.below(all.len())]
    }

    fn new_name(&mut self, directory: &Path) -> PathBuf {
        self.made += 1;
        let long = if self.noise.below(4) == 0 { "x".repeat(self.noise.below(200)) } else { String::new() };
        directory.join(format!("n{}{long}", self.made))
    }

    /// Syncs a file or directory, so that it is in the log.
    pub(super) fn sync_one(&mut self) {
        let root = &self.roots[self.noise.below(self.roots.len())].clone();
        let (files, directories) = paths(root);
        let regular: Vec<PathBuf> = files.into_iter().filter(|path| path.is_file() && !path.is_symlink()).collect();
        let from = if self.noise.below(3) == 0 || regular.is_empty() { directories } else { regular };
        let file = File::open(self.pick(&from)).expect("opened");
        if self.noise.below(3) == 0 { file.sync_data() } else { file.sync_all() }.expect("synced");
    }

    /// Commits everything.
    pub(super) fn commit(&self) {
        rustix::fs::syncfs(File::open(&self.roots[0]).expect("opened")).expect("synced");
    }

    /// Does one thing. What cannot be done is passed over.
    pub(super) fn step(&mut self) {
        let root = self.roots[self.noise.below(self.roots.len())].clone();
        let (files, directories) = paths(&root);
        let directory = self.pick(&directories).clone();
        let name = self.new_name(&directory);
        if files.is_empty() || self.noise.below(6) == 0 {
            let length = [3, 900, 2048, 5_000, 40_000, 300_000][self.noise.below(6)];
            fs::write(&name, self.noise.bytes(length)).expect("written");
            return;
        }
        let file = self.pick(&files).clone();
        match self.noise.below(9) {
            0 => drop(fs::create_dir(&name)),
            1 => self.rename(&file, &files, &directories, &name),
            2 => drop(fs::remove_file(&file)),
            3 => drop(fs::hard_link(&file, &name)),
            4 => drop(symlink("a target that is not there", &name)),
            5 => self.change_attributes(if self.noise.clone().below(4) == 0 { &directory } else { &file }),
            6 => drop(fs::remove_dir(&directory)),
            _ => self.change_contents(&file, &name),
        }
    }

    fn rename(&mut self, file: &Path, files: &[PathBuf], directories: &[PathBuf], name: &Path) {
        let other = self.pick(files).clone();
        let directory = self.pick(directories).clone();
        match self.noise.below(5) {
            0 => drop(fs::rename(file, other)),
            1 => {
                let _ = renameat_with(CWD, file, CWD, &other, RenameFlags::EXCHANGE);
            }
            2 if directories.len() > 1 => drop(fs::rename(&directory, name)),
            3 => {
                // The name of one is taken by another that is new.
                drop(fs::rename(file, name));
                drop(fs::write(file, self.noise.bytes(2000)));
            }
            _ => drop(fs::rename(file, name)),
        }
    }

    fn change_attributes(&mut self, path: &Path) {
        let name = format!("user.a{}", self.noise.below(4));
        if self.noise.below(3) == 0 {
            let _ = lremovexattr(path, name.as_str());
        } else {
            let length = self.noise.below(300);
            let _ = lsetxattr(path, name.as_str(), &self.noise.bytes(length), XattrFlags::empty());
        }
        if !path.is_symlink() {
            let mode = 0o600 + u32::try_from(self.noise.below(8)).expect("small");
            drop(fs::set_permissions(path, fs::Permissions::from_mode(mode | if path.is_dir() { 0o100 } else { 0 })));
        }
    }

    fn change_contents(&mut self, path: &Path, name: &Path) {
        if path.is_symlink() {
            return;
        }
        let Ok(file) = File::options().read(true).write(true).open(path) else { return };
        let size = file.metadata().expect("told").len();
        let at = self.noise.below(usize::try_from(size).expect("small") + 1) as u64;
        let length = self.noise.below(100_000) as u64 + 1;
        match self.noise.below(7) {
            0 => drop(file.set_len(at)),
            1 => drop(file.set_len(size + length)),
            2 => {
                let _ = fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, length);
            }
            3 => {
                let _ = fallocate(&file, FallocateFlags::KEEP_SIZE, at, length);
            }
            4 => {
                let clone = File::create(name).expect("made");
                let _ = ioctl_ficlone(&clone, &file);
            }
            _ => drop(file.write_all_at(&self.noise.bytes(usize::try_from(length).expect("small")), at)),
        }
    }
}
