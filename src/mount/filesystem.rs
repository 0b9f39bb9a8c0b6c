//! A tree as a FUSE filesystem: translation only. Every answer is immutable but those of directories of points, so the kernel may keep
//! all that it was told.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fuser::{
    Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, ReplyAttr,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::answers::{attributes, errno, kind};
use super::handles::Handles;
use super::inodes::Inodes;
use crate::guestfs::{Attributes, FileData, FileKind, GuestError, GuestResult, Place, Timestamp};
use crate::tree::{Tree, TreeEntry};

/// How long the kernel may keep what never changes.
const FOR_LONG: Duration = Duration::from_secs(24 * 3600);
/// How long it may keep what can change: new points appear.
const SHORTLY: Duration = Duration::from_secs(1);
/// Bytes of a request: the most that Linux sends in one.
const MOST_BYTES: u32 = 1 << 20;
/// Requests that Linux may have under way for read-ahead.
const BACKGROUND: u16 = 64;

thread_local! {
    /// What a thread answers reads from, kept for the next one.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Hears of what could not be read, and why.
pub type OnProblem = dyn Fn(&str) + Send + Sync;

/// An open directory: its entries, read when the first of them is wanted.
struct OpenDirectory<S> {
    spot: S,
    entries: OnceLock<(Vec<TreeEntry<S>>, Option<Errno>)>,
}

pub(super) struct TreeFilesystem<T: Tree> {
    tree: T,
    inodes: Inodes<T::Spot>,
    files: Handles<dyn FileData>,
    directories: Handles<OpenDirectory<T::Spot>>,
    on_problem: Box<OnProblem>,
}

impl<T: Tree> TreeFilesystem<T> {
    pub(super) fn new(tree: T, on_problem: Box<OnProblem>) -> Self {
        let inodes = Inodes::new(tree.top());
        Self { tree, inodes, files: Handles::default(), directories: Handles::default(), on_problem }
    }

    fn spot(&self, number: INodeNo) -> Result<T::Spot, Errno> {
        self.inodes.spot(number.0).ok_or(Errno::ENOENT)
    }

    /// Tells a failure that is no ordinary answer, and gives its number.
    fn failed(&self, error: &GuestError) -> Errno {
        if !matches!(error, GuestError::NotFound { .. } | GuestError::WrongKind { .. }) {
            (self.on_problem)(&error.to_string());
        }
        errno(error)
    }

    fn asked<V>(&self, answer: GuestResult<V>) -> Result<V, Errno> {
        answer.map_err(|error| self.failed(&error))
    }

    fn keep(&self, spot: &T::Spot) -> Duration {
        if self.tree.is_settled(spot) { FOR_LONG } else { SHORTLY }
    }

    fn attributes_of(&self, number: u64, spot: &T::Spot) -> Result<FileAttr, Errno> {
        Ok(attributes(number, &self.asked(self.tree.attributes(spot))?))
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<(Duration, FileAttr), Errno> {
        let spot = self.asked(self.tree.lookup(&self.spot(parent)?, name.as_bytes()))?.ok_or(Errno::ENOENT)?;
        // Told only when the answer is sure: an error must not leave a number behind.
        let mut known = self.attributes_of(0, &spot)?;
        known.ino = INodeNo(self.inodes.tell(&spot));
        Ok((self.keep(&spot), known))
    }

    fn open_directory(&self, handle: FileHandle) -> Result<Arc<OpenDirectory<T::Spot>>, Errno> {
        self.directories.get(handle.0).ok_or(Errno::EBADF)
    }

    /// The entries of an open directory and, behind them, why there are no more.
    fn entries<'a>(&self, open: &'a OpenDirectory<T::Spot>) -> &'a (Vec<TreeEntry<T::Spot>>, Option<Errno>) {
        open.entries.get_or_init(|| {
            let mut entries = Vec::new();
            let read = self.tree.entries(&open.spot, &mut |entry| {
                entries.push(entry);
                ControlFlow::Continue(())
            });
            (entries, read.err().map(|error| self.failed(&error)))
        })
    }

    /// Hands the entries from `offset` on to `add` until it is full. Where a directory is damaged, the error comes behind what could be read.
    fn list(&self, handle: FileHandle, offset: u64, mut add: impl FnMut(u64, &TreeEntry<T::Spot>) -> bool) -> Result<(), Errno> {
        let open = self.open_directory(handle)?;
        let (entries, failure) = self.entries(&open);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        for (nth, entry) in (offset..).zip(entries.get(start..).unwrap_or_default()) {
            if add(nth.saturating_add(1), entry) {
                return Ok(());
            }
        }
        match failure {
            Some(failure) if start >= entries.len() => Err(*failure),
            _ => Ok(()),
        }
    }

    fn kind_of(&self, entry: &TreeEntry<T::Spot>) -> FileKind {
        let told = entry.kind.or_else(|| self.tree.attributes(&entry.spot).ok().map(|known| known.kind));
        told.unwrap_or(FileKind::Regular)
    }

    fn seek(&self, handle: FileHandle, offset: i64, whence: i32) -> Result<i64, Errno> {
        let file = self.files.get(handle.0).ok_or(Errno::EBADF)?;
        let data = match whence {
            libc::SEEK_DATA => true,
            libc::SEEK_HOLE => false,
            _ => return Err(Errno::EINVAL),
        };
        let size_bytes = file.size_bytes();
        let mut at = u64::try_from(offset).ok().filter(|offset| *offset < size_bytes).ok_or(Errno::ENXIO)?;
        while at < size_bytes {
            let run = file.run_at(at).map_err(|error| self.failed(&GuestError::from(error)))?;
            if (run.place != Place::Hole) == data {
                break;
            }
            at = at.saturating_add(run.length_bytes.max(1));
        }
        match (data, at < size_bytes) {
            (true, false) => Err(Errno::ENXIO),
            // Every file ends in a hole.
            _ => i64::try_from(at.min(size_bytes)).map_err(|_| Errno::EOVERFLOW),
        }
    }

    fn attribute(&self, number: INodeNo, name: &OsStr) -> Result<Vec<u8>, Errno> {
        let all = self.asked(self.tree.extended_attributes(&self.spot(number)?))?;
        all.into_iter().find(|(found, _)| found == name.as_bytes()).map(|(_, value)| value).ok_or(Errno::ENODATA)
    }

    fn attribute_names(&self, number: INodeNo) -> Result<Vec<u8>, Errno> {
        let all = self.asked(self.tree.extended_attributes(&self.spot(number)?))?;
        Ok(all.into_iter().flat_map(|(name, _)| [name, vec![0]].concat()).collect())
    }
}

/// Answers a question about extended attributes: the bytes, or how many they are.
fn answer_attribute(found: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match (found, size) {
        (Err(error), _) => reply.error(error),
        (Ok(bytes), 0) => reply.size(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
        (Ok(bytes), size) if bytes.len() > size as usize => reply.error(Errno::ERANGE),
        (Ok(bytes), _) => reply.data(&bytes),
    }
}

impl<T: Tree + 'static> Filesystem for TreeFilesystem<T>
where
    T::Spot: 'static,
{
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // What the kernel does not have is no reason not to mount: all of this only makes it faster.
        for wanted in [InitFlags::FUSE_DO_READDIRPLUS, InitFlags::FUSE_READDIRPLUS_AUTO, InitFlags::FUSE_PARALLEL_DIROPS] {
            let _ = config.add_capabilities(wanted);
        }
        let _ = config.set_max_write(MOST_BYTES);
        let _ = config.set_max_readahead(MOST_BYTES);
        let _ = config.set_max_background(BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.find(parent, name) {
            Ok((keep, known)) => reply.entry(&keep, &known, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, times: u64) {
        self.inodes.forget(number.0, times);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.spot(number).and_then(|spot| Ok((self.keep(&spot), self.attributes_of(number.0, &spot)?))) {
            Ok((keep, known)) => reply.attr(&keep, &known),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        match self.spot(number).and_then(|spot| self.asked(self.tree.link_target(&spot))) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.spot(number).and_then(|spot| self.asked(self.tree.open(&spot))) {
            Ok(file) => reply.opened(FileHandle(self.files.open(file)), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.files.get(handle.0) else { return reply.error(Errno::EBADF) };
        let length = file.size_bytes().saturating_sub(offset).min(u64::from(size));
        BUFFER.with_borrow_mut(|buffer| {
            // At most `size`, so the cast cannot cut. What an earlier read left in the buffer is overwritten.
            let length = length as usize;
            if buffer.len() < length {
                buffer.resize(length, 0);
            }
            match file.read_at(offset, &mut buffer[..length]) {
                Ok(()) => reply.data(&buffer[..length]),
                Err(error) => reply.error(self.failed(&GuestError::from(error))),
            }
        });
    }

    fn release(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, _: Option<LockOwner>, _: bool, reply: ReplyEmpty) {
        self.files.close(handle.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.spot(number) {
            Ok(spot) => {
                let settled = self.tree.is_settled(&spot);
                let flags = if settled { FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() };
                let handle = self.directories.open(Arc::new(OpenDirectory { spot, entries: OnceLock::new() }));
                reply.opened(FileHandle(handle), flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.list(handle, offset, |next, entry| {
            let number = INodeNo(self.inodes.peek(&entry.spot));
            reply.add(number, next, kind(self.kind_of(entry)), OsStr::from_bytes(&entry.name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let listed = self.list(handle, offset, |next, entry| {
            let number = self.inodes.tell(&entry.spot);
            let (keep, known) = match self.tree.attributes(&entry.spot) {
                Ok(known) => (self.keep(&entry.spot), attributes(number, &known)),
                // Still listed: what it is will be asked for at once, and then the error is said.
                Err(_) => (Duration::ZERO, unknown(number, entry.kind)),
            };
            let full = reply.add(INodeNo(number), next, OsStr::from_bytes(&entry.name), &keep, &known, Generation(0));
            if full {
                self.inodes.forget(number, 1);
            }
            full
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.directories.close(handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        // No blocks and no room: what is here is spread over a vault. Names go to what FUSE takes.
        reply.statfs(0, 0, 0, 0, 0, 4096, 1024, 4096);
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        answer_attribute(self.attribute(number, name), size, reply);
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        answer_attribute(self.attribute_names(number), size, reply);
    }

    fn lseek(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        match self.seek(handle, offset, whence) {
            Ok(at) => reply.offset(at),
            Err(error) => reply.error(error),
        }
    }
}

/// What is said of an object whose attributes are damaged: its kind, if the directory has it.
fn unknown(number: u64, told: Option<FileKind>) -> FileAttr {
    let time = Timestamp::default();
    let known = Attributes {
        kind: told.unwrap_or(FileKind::Regular),
        size_bytes: 0,
        allocated_bytes: 0,
        mode: 0,
        uid: 0,
        gid: 0,
        links: 1,
        device: None,
        modified: time,
        changed: None,
        accessed: None,
        created: None,
    };
    attributes(number, &known)
}
