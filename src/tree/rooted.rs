//! The guest's own tree: the volume with its fstab, and over its directories what that table mounts there.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::fstab::{MountLine, parse};
use super::point::DiskView;
use super::volumes::{FoundVolume, Volumes};
use crate::guestfs::{FileKind, FileSystem, GuestResult, Node};

/// A table larger than this is none.
const LARGEST_TABLE: u64 = 1 << 20;
/// Directories at the top of a filesystem that are looked into for a root (subvolumes of btrfs).
const MOST_CANDIDATES: usize = 32;

/// Where a guest's directory lies: the number of the mount that it was reached through, the volume's number, and the node. What is mounted
/// over a directory is there for who comes through the mount below it, not for who reaches the same directory through another: a guest
/// whose root is a snapshot finds its own root below its snapshots, and in it nothing mounted.
type Location = (u16, u32, Node);

/// The mount of the root.
const FIRST: u16 = 0;

/// A guest's own tree.
pub(super) struct Rooted {
    pub(super) top: Location,
    mounts: u16,
    /// What is mounted over which directory.
    over: HashMap<Location, Location>,
    /// What of the table could not be found, and where.
    pub(super) notes: Vec<String>,
}

impl Rooted {
    /// Looks for the volume that calls itself the root; without one, for any with a table.
    pub(super) fn find(volumes: &Volumes, disks: &[DiskView]) -> Option<Self> {
        let mut second_best = None;
        for (number, volume) in (0_u32..).zip(&volumes.found).filter(|(_, volume)| volume.has_files()) {
            // A volume that cannot be opened says so where it is entered.
            let Ok(filesystem) = volume.filesystem() else { continue };
            let has_subvolumes = volume.identity.as_ref().is_some_and(|identity| identity.kind == "btrfs");
            for top in candidates(filesystem.as_ref(), has_subvolumes) {
                let Some(table) = table(filesystem.as_ref(), top) else { continue };
                let is_root = table.iter().any(|line| line.path == "/" && find_source(volumes, disks, &line.source) == Some(number));
                let found = ((FIRST, number, top), table);
                if is_root {
                    return Some(Self::put_together(volumes, disks, found.0, &found.1));
                }
                second_best.get_or_insert(found);
            }
        }
        second_best.map(|(top, table)| Self::put_together(volumes, disks, top, &table))
    }

    fn put_together(volumes: &Volumes, disks: &[DiskView], top: Location, table: &[MountLine]) -> Self {
        let mut rooted = Self { top, mounts: FIRST, over: HashMap::new(), notes: Vec::new() };
        for line in table.iter().filter(|line| line.path != "/") {
            if let Err(problem) = rooted.mount(volumes, disks, line) {
                rooted.notes.push(format!("{} is not in its place, {}: {problem}", line.source, line.path));
            }
        }
        rooted
    }

    fn mount(&mut self, volumes: &Volumes, disks: &[DiskView], line: &MountLine) -> Result<(), String> {
        let number = find_source(volumes, disks, &line.source).ok_or("no volume of this point is that")?;
        let volume = volume(volumes, number).ok_or("no volume of this point is that")?;
        let filesystem = volume.filesystem().map_err(|error| error.to_string())?;
        let mut node = filesystem.root();
        for name in line.subvolume.iter().flat_map(|path| path.split('/')) {
            let child = filesystem.lookup(node, name.as_bytes()).map_err(|error| error.to_string())?;
            node = child.ok_or_else(|| format!("it has no subvolume {}", line.subvolume.as_deref().unwrap_or_default()))?;
        }
        let place = self.walk(volumes, &line.path).map_err(|error| error.to_string())?;
        let place = place.ok_or("there is no such directory")?;
        self.mounts = self.mounts.checked_add(1).ok_or("the table has too many lines")?;
        self.over.insert(place, (self.mounts, number, node));
        Ok(())
    }

    /// What is mounted over a directory, or the directory itself.
    pub(super) fn over_or_self(&self, place: Location) -> Location {
        self.over.get(&place).copied().unwrap_or(place)
    }

    /// The directory at an absolute path, over what is mounted already. Links are not followed.
    fn walk(&self, volumes: &Volumes, path: &str) -> GuestResult<Option<Location>> {
        let (mut mount, mut number, mut node) = self.top;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Some(volume) = volume(volumes, number) else { return Ok(None) };
            let Some(child) = volume.filesystem()?.lookup(node, name.as_bytes())? else { return Ok(None) };
            (mount, number, node) = self.over_or_self((mount, number, child));
        }
        Ok(Some((mount, number, node)))
    }
}

fn volume(volumes: &Volumes, number: u32) -> Option<&FoundVolume> {
    volumes.found.get(usize::try_from(number).ok()?)
}

/// Directories that may be the root of a system: the filesystem's own and, where it has subvolumes, those at its top and the first
/// snapshot of a system that keeps its root in one. Elsewhere nothing more is looked at: it would cost a frame for each directory.
fn candidates(filesystem: &dyn FileSystem, has_subvolumes: bool) -> Vec<Node> {
    let mut candidates = vec![filesystem.root()];
    if !has_subvolumes {
        return candidates;
    }
    let _ = filesystem.entries(filesystem.root(), &mut |entry| {
        if entry.kind.is_none_or(|kind| kind == FileKind::Directory) {
            candidates.push(entry.node);
        }
        if candidates.len() > MOST_CANDIDATES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    candidates.extend(descend(filesystem, filesystem.root(), &["@", ".snapshots", "1", "snapshot"]));
    candidates
}

fn descend(filesystem: &dyn FileSystem, from: Node, names: &[&str]) -> Option<Node> {
    names.iter().try_fold(from, |node, name| filesystem.lookup(node, name.as_bytes()).ok().flatten())
}

/// The table of the system whose root is `top`.
fn table(filesystem: &dyn FileSystem, top: Node) -> Option<Vec<MountLine>> {
    let node = descend(filesystem, top, &["etc", "fstab"])?;
    let file = filesystem.open(node).ok().filter(|file| file.size_bytes() <= LARGEST_TABLE)?;
    let mut text = vec![0; usize::try_from(file.size_bytes()).ok()?];
    file.read_at(0, &mut text).ok()?;
    Some(parse(&text))
}

/// The volume that a table names.
fn find_source(volumes: &Volumes, disks: &[DiskView], source: &str) -> Option<u32> {
    let numbered = || (0_u32..).zip(&volumes.found).filter(|(_, volume)| volume.part_of.is_none());
    let first = |fits: &dyn Fn(&FoundVolume) -> bool| numbered().find(|(_, volume)| fits(volume)).map(|(number, _)| number);
    let same = |wanted: &str, found: Option<&String>| found.is_some_and(|found| found.eq_ignore_ascii_case(wanted));
    let uuid = |wanted: &str| first(&|volume| same(wanted, volume.identity.as_ref().and_then(|identity| identity.uuid.as_ref())));
    let label = |wanted: &str| {
        first(&|volume| volume.identity.as_ref().and_then(|identity| identity.label.as_deref()).is_some_and(|label| label == wanted))
    };
    let part_uuid = |wanted: &str| first(&|volume| same(wanted, volume.volume.partition_uuid.as_ref()));
    let part_label = |wanted: &str| first(&|volume| volume.volume.partition_name.as_deref() == Some(wanted));
    let tagged = source.split_once('=').or_else(|| source.strip_prefix("/dev/disk/by-").and_then(|rest| rest.split_once('/')));
    let by_tag = tagged.and_then(|(tag, value)| match tag.to_ascii_lowercase().as_str() {
        "uuid" => uuid(value),
        "label" => label(value),
        "partuuid" => part_uuid(value),
        "partlabel" => part_label(value),
        _ => None,
    });
    by_tag.or_else(|| first(&|volume| names_of(volume, disks).iter().any(|name| name == source)))
}

/// The names that a guest may have for a volume, as far as they can be guessed.
fn names_of(volume: &FoundVolume, disks: &[DiskView]) -> Vec<String> {
    let mut names = volume.volume.device_names.clone();
    let disk = volume.volume.disk.as_deref();
    if let (Some(disk), Some(partition)) = (disk, volume.volume.partition) {
        let number = disks.iter().position(|other| other.name == disk).unwrap_or(0);
        // The n-th disk of a machine, whatever its bus; a guest may know it by another name than its host does.
        let letter = char::from(b'a' + u8::try_from(number.min(25)).unwrap_or(0));
        let own = format!("/dev/{disk}{}{partition}", if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" });
        names.push(own);
        names.extend(["sd", "vd", "xvd", "hd"].iter().map(|bus| format!("/dev/{bus}{letter}{partition}")));
        names.push(format!("/dev/nvme{number}n1p{partition}"));
    }
    names
}
