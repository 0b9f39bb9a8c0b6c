//! Who uses a block device or an image file, as the kernel tells it in /proc and /sys. Only to explain: what the kernel refuses decides.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Says in words who uses a block device, or a partition of it, of the device number `device`.
pub(super) fn who_uses(device: u64) -> String {
    let devices = with_partitions(device);
    let mut users: BTreeSet<String> = BTreeSet::new();
    users.extend(mounts(&devices).map(|place| format!("it is mounted at {place}")));
    users.extend(swaps(&devices).map(|path| format!("{path} is swap space")));
    for device in &devices {
        users.extend(names_in(&device_directory(device).join("holders")).map(|holder| format!("{holder} is built on it")));
    }
    if users.is_empty() { "another program has it open for itself".to_owned() } else { Vec::from_iter(users).join(", ") }
}

/// The loop device that an image file is attached to.
pub(super) fn loop_device_of(image: &Path) -> Option<PathBuf> {
    let image = image.canonicalize().ok()?;
    names_in(Path::new("/sys/block")).filter(|name| name.starts_with("loop")).find_map(|name| {
        let backing = fs::read_to_string(Path::new("/sys/block").join(&name).join("loop/backing_file")).ok()?;
        (Path::new(backing.trim_end_matches('\n')) == image).then(|| Path::new("/dev").join(name))
    })
}

/// A device's number as /proc and /sys show it: `253:0`.
fn shown(device: u64) -> String {
    format!("{}:{}", libc::major(device), libc::minor(device))
}

fn device_directory(device: &str) -> PathBuf {
    Path::new("/sys/dev/block").join(device)
}

fn names_in(directory: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// A device and its partitions.
fn with_partitions(device: u64) -> Vec<String> {
    let directory = device_directory(&shown(device));
    let partitions = names_in(&directory).filter_map(|name| fs::read_to_string(directory.join(name).join("dev")).ok());
    std::iter::once(shown(device)).chain(partitions.map(|number| number.trim().to_owned())).collect()
}

/// The device number of the block device at a path.
fn number_of(path: &str) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    metadata.file_type().is_block_device().then(|| shown(metadata.rdev()))
}

/// Where devices are mounted: by their number, or by their path where the filesystem has a number of its own (btrfs).
fn mounts(devices: &[String]) -> impl Iterator<Item = String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let lines: Vec<String> = table.lines().map(str::to_owned).collect();
    lines.into_iter().filter_map(move |line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(2);
        let (number, place) = (fields.next()?, fields.nth(1)?);
        let source = after.split(' ').nth(1).and_then(number_of);
        let named = devices.iter().any(|device| device == number || Some(device) == source.as_ref());
        named.then(|| place.to_owned())
    })
}

fn swaps(devices: &[String]) -> impl Iterator<Item = String> {
    let table = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let paths: Vec<String> = table.lines().skip(1).filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    paths.into_iter().filter(move |path| number_of(path).is_some_and(|number| devices.contains(&number)))
}
