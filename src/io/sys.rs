//! System calls that the standard library does not offer. The only file of the package with `unsafe`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};

use crate::units::{Extent, ExtentSet};

/// `BLKGETSIZE64` of linux/fs.h.
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
/// `FS_IOC_FIEMAP` of linux/fs.h.
const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
/// `FIFREEZE` of linux/fs.h.
const FIFREEZE: libc::c_ulong = 0xc004_5877;
/// `FITHAW` of linux/fs.h.
const FITHAW: libc::c_ulong = 0xc004_5878;
/// Flush the file first, so that delayed allocation shows real extents.
const FIEMAP_FLAG_SYNC: u32 = 1;
/// Extents asked for in one call.
const FIEMAP_BATCH: usize = 512;

/// Bytes of an open block device.
///
/// # Errors
/// What the ioctl says; `ENOTTY` where it is no block device.
pub fn block_device_bytes(device: &File) -> io::Result<u64> {
    let mut bytes = 0_u64;
    // SAFETY: the request writes one u64 through the pointer, which is valid for the call; the descriptor is open.
    let status = unsafe { libc::ioctl(device.as_raw_fd(), BLKGETSIZE64, &raw mut bytes) };
    if status == 0 { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

/// Time that has passed since the computer's start, without what it slept. No clock of another computer can be compared with it, nor this one
/// after another start: [`boot_id`].
pub fn monotonic() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec through the pointer, which is valid for the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    // Linux has this clock; without an answer no time passes, and nobody is taken for dead.
    if status == 0 { Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32) } else { Duration::ZERO }
}

/// What tells this start of the computer from all others; `None` where the system does not say.
pub fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.trim().chars().filter(|char| *char != '-').collect();
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

/// Bytes that a file in this directory could still take; `None` where the system does not say.
pub fn free_bytes(directory: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(directory).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// Freezes the filesystem that an open directory lies on: what is in memory is written, and everybody who writes waits until it is thawed.
/// Allocates nothing.
///
/// # Errors
/// `EBUSY` where it is frozen already, `EOPNOTSUPP` where it cannot be, `EPERM` for all but root; else what the system says.
pub fn freeze_filesystem(directory: BorrowedFd<'_>) -> io::Result<()> {
    plain_ioctl(directory, FIFREEZE)
}

/// Thaws the filesystem that an open directory lies on. Allocates nothing.
///
/// # Errors
/// `EINVAL` where it is not frozen; else what the system says.
pub fn thaw_filesystem(directory: BorrowedFd<'_>) -> io::Result<()> {
    plain_ioctl(directory, FITHAW)
}

/// An ioctl whose argument is a number that the kernel does not look at.
fn plain_ioctl(file: BorrowedFd<'_>, request: libc::c_ulong) -> io::Result<()> {
    // SAFETY: both requests that come here take no pointer; the descriptor is open.
    let status = unsafe { libc::ioctl(file.as_raw_fd(), request, 0) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Blocks all signals in this thread, but for those that cannot be. Programs that it starts from then on inherit that.
pub fn block_signals() {
    // SAFETY: the set is filled by the first call before the second one reads it; both only write to it and to this thread's mask.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

/// Maps a whole file read-only. Cairn maps only files that nobody changes in place: sealed index segments.
///
/// # Errors
/// What the system says; mapping an empty file is an error.
pub fn map_file(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: index segments are created whole under a new name and never written again (io/durable.rs); a foreign process
    // that truncates one ends this process with SIGBUS, which loses nothing, since an index is never needed to read.
    unsafe { memmap2::Mmap::map(file) }
}

/// The ranges below `size_bytes` that the filesystem has data for, by `SEEK_DATA`; the rest are holes, never to be read.
///
/// A filesystem that does not know answers that all is data. The file's own position is moved.
///
/// # Errors
/// What the system says.
pub fn data_extents(file: &File, size_bytes: u64) -> io::Result<ExtentSet> {
    let mut extents = ExtentSet::new();
    let mut position = 0;
    while position < size_bytes {
        let start = match seek(file, SeekFrom::Data(position)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(rustix::io::Errno::INVAL) if position == 0 => return Ok(ExtentSet::whole(size_bytes)),
            Err(error) => return Err(error.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(size_bytes);
        if start >= size_bytes || end <= position {
            break;
        }
        extents.push(Extent::between(start, end));
        position = end;
    }
    Ok(extents)
}

/// The first part of `range` that the filesystem has data for; the rest before it is a hole. All of it where the filesystem does not know,
/// and on block devices. The file's own position is moved.
///
/// # Errors
/// What the system says.
pub fn next_data(file: &File, range: Extent) -> io::Result<Option<Extent>> {
    let start = match seek(file, SeekFrom::Data(range.offset())) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(rustix::io::Errno::INVAL) => return Ok((!range.is_empty()).then_some(range)),
        Err(error) => return Err(error.into()),
    };
    if start >= range.end() {
        return Ok(None);
    }
    let end = match seek(file, SeekFrom::Hole(start)) {
        Ok(end) => end.min(range.end()),
        // Somebody cut the file off meanwhile.
        Err(rustix::io::Errno::NXIO) => range.end(),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Extent::between(start, end.max(start + 1))))
}

/// Takes a file's pages out of the page cache, so that the next read asks the medium. Pages that are not yet written stay.
///
/// # Errors
/// What the system says.
pub fn forget_cached(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// Deallocates a range, which then reads as zeros; the size stays.
///
/// # Errors
/// `EOPNOTSUPP` and its like where the filesystem or device cannot; else what the system says.
pub fn punch_hole(file: &File, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset_bytes, length_bytes)?)
}

/// Tells the kernel to start writing a range of a file to its medium, and does not wait for it: no durability, but an fsync that
/// comes later has less to do.
///
/// # Errors
/// What the system says; not every filesystem takes it.
pub fn start_write_back(file: &File, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let offset = libc::off64_t::try_from(offset_bytes).map_err(too_large)?;
    let length = libc::off64_t::try_from(length_bytes).map_err(too_large)?;
    // SAFETY: the call takes only numbers; the descriptor is open.
    let status = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where a range of a file lies on its device, as `FIEMAP` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileExtent {
    /// The file's bytes.
    pub logical: Extent,
    /// Offset of the first byte on the device.
    pub physical_bytes: u64,
    /// The kernel's `FIEMAP_EXTENT_*` flags.
    pub flags: u32,
}

/// `struct fiemap` of linux/fiemap.h with room for a batch of extents.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extents: [FiemapExtent; FIEMAP_BATCH],
}

/// `struct fiemap_extent` of linux/fiemap.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// The extents of a file, ascending, flushed first; asked for in batches, so that a file of many extents needs little memory.
pub fn file_extents(file: &File) -> FileExtents<'_> {
    const NONE: FiemapExtent = FiemapExtent { logical: 0, physical: 0, length: 0, reserved64: [0; 2], flags: 0, reserved: [0; 3] };
    let map = Fiemap {
        start: 0,
        length: 0,
        flags: FIEMAP_FLAG_SYNC,
        mapped_extents: 0,
        extent_count: FIEMAP_BATCH as u32,
        reserved: 0,
        extents: [NONE; FIEMAP_BATCH],
    };
    FileExtents { file, map: Box::new(map), taken: 0, start: 0, last: false }
}

/// The extents of a file, as [`file_extents`] gives them.
///
/// An item is an error where the filesystem has no `FIEMAP` (`EOPNOTSUPP`) or fails; nothing comes after it.
pub struct FileExtents<'a> {
    file: &'a File,
    map: Box<Fiemap>,
    taken: usize,
    start: u64,
    last: bool,
}

impl FileExtents<'_> {
    /// Asks for the extents from where the last batch ended.
    fn refill(&mut self) -> io::Result<()> {
        self.map.start = self.start;
        self.map.length = u64::MAX - self.start;
        self.map.mapped_extents = 0;
        self.taken = 0;
        // SAFETY: the request reads and writes the fixed part and at most `extent_count` entries behind it, all of which lie in
        // `*map`, laid out as the kernel's header says; the descriptor is open.
        let status = unsafe { libc::ioctl(self.file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut *self.map) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Iterator for FileExtents<'_> {
    type Item = io::Result<FileExtent>;

    fn next(&mut self) -> Option<Self::Item> {
        const LAST: u32 = 1;
        if self.last {
            return None;
        }
        if self.taken >= (self.map.mapped_extents as usize).min(FIEMAP_BATCH) {
            if let Err(error) = self.refill() {
                self.last = true;
                return Some(Err(error));
            }
            if self.map.mapped_extents == 0 {
                self.last = true;
                return None;
            }
        }
        let extent = self.map.extents[self.taken];
        let end = extent.logical.saturating_add(extent.length);
        // An extent that leads no further would be asked for again for ever.
        self.last = extent.flags & LAST != 0 || end <= self.start;
        self.taken += 1;
        self.start = end;
        Some(Ok(FileExtent { logical: Extent::between(extent.logical, end), physical_bytes: extent.physical, flags: extent.flags }))
    }
}

/// Which calls of `fsync` fail in a thread, see [`fail_fsync`].
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum FailingSync {
    /// Those of this open file.
    Of(std::os::fd::RawFd),
    /// Those of all files but this.
    OfAllBut(std::os::fd::RawFd),
    /// All.
    All,
}

/// Makes `fsync` fail with `EIO` in this thread until it ends, see [`fail_calls`].
#[cfg(test)]
pub(crate) fn fail_fsync(which: FailingSync) -> io::Result<()> {
    fail_calls(libc::SYS_fsync, libc::EIO, which)
}

/// Makes a system call whose first argument is a file fail with an error code in this thread until it ends, by a seccomp filter: a
/// test can so see that the call itself is made, what was already visible when it was, and what follows from its failure. The
/// thread must have been made for the test.
#[cfg(test)]
pub(crate) fn fail_calls(call: libc::c_long, code: i32, which: FailingSync) -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// Offset of the first argument's lower half in `struct seccomp_data` of linux/seccomp.h (little-endian).
    const ARGUMENT: u32 = 16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let fail = libc::SECCOMP_RET_ERRNO | code as u32;
    let (descriptor, same, other) = match which {
        FailingSync::Of(descriptor) => (descriptor as u32, fail, libc::SECCOMP_RET_ALLOW),
        FailingSync::OfAllBut(descriptor) => (descriptor as u32, libc::SECCOMP_RET_ALLOW, fail),
        FailingSync::All => (0, fail, fail),
    };
    let mut filter = [
        step(LOAD, 0, 0, 0),
        step(EQUAL, 1, 0, call as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(LOAD, 0, 0, ARGUMENT),
        step(EQUAL, 0, 1, descriptor),
        step(RETURN, 0, 0, same),
        step(RETURN, 0, 0, other),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: both requests concern this thread only; the program and its steps outlive the call, which copies them.
    let status = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_are_found() -> io::Result<()> {
        let file = tempfile::tempfile()?;
        file.set_len(8 << 20)?;
        file.write_all_at(&[1; 4096], 4 << 20)?;
        let extents = data_extents(&file, 8 << 20)?;
        assert!(extents.overlaps(Extent::between(4 << 20, (4 << 20) + 4096)));
        assert!(extents.total_bytes() <= 8 << 20);
        Ok(())
    }

    #[test]
    fn data_is_found_range_by_range() -> io::Result<()> {
        let file = tempfile::tempfile()?;
        file.set_len(8 << 20)?;
        for offset in [1 << 20, 4 << 20] {
            file.write_all_at(&[1; 4096], offset)?;
        }
        let whole = Extent::between(0, 8 << 20);
        let first = next_data(&file, whole)?;
        assert!(first.is_some_and(|data| data.offset() <= 1 << 20 && data.end() >= (1 << 20) + 4096), "{first:?}");
        assert_eq!(next_data(&file, Extent::between(1 << 20, (1 << 20) + 10))?, Some(Extent::between(1 << 20, (1 << 20) + 10)));
        // Not every filesystem has holes; where there is one, nothing is found in it or past the end.
        if data_extents(&file, 8 << 20)?.total_bytes() < 4 << 20 {
            assert_eq!(next_data(&file, Extent::between(2 << 20, 4 << 20))?, None);
            assert_eq!(next_data(&file, Extent::between(6 << 20, 8 << 20))?, None);
        }
        assert_eq!(next_data(&file, Extent::between(9 << 20, 10 << 20))?, None);
        Ok(())
    }

    #[test]
    fn a_file_is_no_block_device() -> io::Result<()> {
        assert!(block_device_bytes(&tempfile::tempfile()?).is_err());
        Ok(())
    }

    #[test]
    fn extents_cover_what_was_written() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = File::create_new(directory.path().join("file"))?;
        // More extents than one batch holds.
        for block in 0..2 * FIEMAP_BATCH as u64 {
            file.write_all_at(&[1; 4096], block * 8192)?;
        }
        match file_extents(&file).collect::<io::Result<Vec<_>>>() {
            Ok(extents) => assert_eq!(extents.iter().map(|extent| extent.logical.length()).sum::<u64>(), 2 * 4096 * FIEMAP_BATCH as u64),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP)),
        }
        Ok(())
    }
}
