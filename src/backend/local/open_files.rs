//! The files that were read last, kept open: repeated reads cost one system call, and a reader that has begun with a pack can
//! go on reading it after a collection removed its name.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

/// Files kept open at most; a process has 1,024 descriptors by default.
const CAPACITY: usize = 128;

/// Open files by object name, the least recently used closed first.
#[derive(Debug)]
pub(super) struct OpenFiles {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    files: HashMap<String, (Arc<File>, u64)>,
    /// Counts uses.
    clock: u64,
}

impl OpenFiles {
    pub(super) fn new() -> Self {
        Self { inner: Mutex::default() }
    }

    /// The open file of `name`. The lock is not held while `open` runs: two threads may open the same file, which does no harm.
    pub(super) fn get_or_open<E>(&self, name: &str, open: impl FnOnce() -> Result<File, E>) -> Result<Arc<File>, E> {
        if let Some(file) = self.find(name) {
            return Ok(file);
        }
        let file = Arc::new(open()?);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let used = inner.clock;
        if inner.files.len() >= CAPACITY {
            let oldest = inner.files.iter().min_by_key(|(_, (_, used))| *used).map(|(name, _)| name.clone());
            oldest.and_then(|name| inner.files.remove(&name));
        }
        inner.files.insert(name.to_owned(), (Arc::clone(&file), used));
        Ok(file)
    }

    fn find(&self, name: &str) -> Option<Arc<File>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.clock += 1;
        let now = inner.clock;
        let (file, used) = inner.files.get_mut(name)?;
        *used = now;
        Some(Arc::clone(file))
    }

    /// Closes the file of `name`, unless somebody is reading it.
    pub(super) fn forget(&self, name: &str) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).files.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn keeps_the_files_used_last_and_no_more_than_its_capacity() -> io::Result<()> {
        let files = OpenFiles::new();
        let opened = std::cell::Cell::new(0);
        let open = |name: &str| {
            files.get_or_open(name, || {
                opened.set(opened.get() + 1);
                tempfile::tempfile()
            })
        };
        for number in 0..CAPACITY {
            open(&number.to_string())?;
        }
        open("0")?;
        open("one more")?;
        assert_eq!(opened.get(), CAPACITY + 1);
        open("0")?;
        assert_eq!(opened.get(), CAPACITY + 1, "the file used last was closed");
        open("1")?;
        assert_eq!(opened.get(), CAPACITY + 2, "the oldest file was kept");
        files.forget("1");
        open("1")?;
        assert_eq!(opened.get(), CAPACITY + 3);
        Ok(())
    }
}
