//! The tree of one recovery point: `disks/`, `files/`, `root/`, `machine/`.

use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use super::rooted::Rooted;
use super::small::{self, Bytes};
use super::volumes::{FoundVolume, Volumes, numbered};
use super::{Tree, TreeEntry};
use crate::guestfs::{Attributes, Entry, FileData, FileKind, FileSystem, GuestError, GuestResult, Node, Place, Run, Timestamp};
use crate::image::Image;
use crate::io::ReadAt;
use crate::volume::{Closed, Disk, luks::Secret};

/// One disk of a point.
#[derive(Clone)]
pub struct DiskView {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub image: Image,
}

/// What a point's tree is made of.
#[derive(Clone)]
pub struct PointView {
    /// Its disks.
    pub disks: Vec<DiskView>,
    /// The files of `machine/` by name.
    pub machine: Vec<(String, Arc<Vec<u8>>)>,
    /// The point's time, which files made by Cairn bear.
    pub time: Timestamp,
}

/// How volumes and filesystems are opened.
#[derive(Clone, Default)]
pub struct TreeOptions {
    /// Show filesystems as they lie on the disk, without what their journals still hold.
    pub no_replay: bool,
    /// What may open encrypted volumes.
    pub secrets: Vec<Secret>,
}

/// An object of a guest's filesystem: its volume's number, the filesystem, the object in it.
pub type GuestObject = (u32, Arc<dyn FileSystem>, Node);

/// Which of the two trees of the guest's files a spot was reached through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// `files/`: each volume by itself.
    Files,
    /// `root/`: put together as the guest does. With the number of the mount, since one directory may be reached through several.
    Root(u16),
}

/// An object in a point's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spot {
    /// The point's directory.
    Top,
    /// `disks`.
    Disks,
    /// `disks/NAME.raw`, by the disk's number.
    DiskImage(u32),
    /// `disks/NAME.map.json`.
    DiskMap(u32),
    /// `files`.
    Files,
    /// `machine`.
    Machine,
    /// `machine/NAME`, by number.
    MachineFile(u32),
    /// `files/NAME`: a volume that has not been looked into.
    VolumeTop(u32),
    /// An object of a filesystem.
    Guest {
        /// The way it was reached by.
        way: Way,
        /// The volume's number.
        volume: u32,
        /// The object.
        node: Node,
    },
}

/// One recovery point as a tree.
pub struct PointTree {
    view: PointView,
    options: TreeOptions,
    volumes: OnceLock<Volumes>,
    rooted: OnceLock<Option<Rooted>>,
}

impl PointTree {
    /// The tree of a point. Reads nothing yet.
    #[must_use]
    pub fn new(view: PointView, options: TreeOptions) -> Self {
        Self { view, options, volumes: OnceLock::new(), rooted: OnceLock::new() }
    }

    pub(super) fn all_volumes(&self) -> &Volumes {
        self.volumes.get_or_init(|| {
            let disk = |disk: &DiskView| Disk { name: disk.name.clone(), device: Arc::new(disk.image.clone()) };
            Volumes::find(self.view.disks.iter().map(disk).collect(), &self.options.secrets, !self.options.no_replay)
        })
    }

    /// Its volumes; finds them the first time.
    pub fn volumes(&self) -> &[FoundVolume] {
        &self.all_volumes().found
    }

    /// What could not be opened on the way to volumes, and why.
    pub fn closed(&self) -> &[Closed] {
        &self.all_volumes().closed
    }

    /// Its disks.
    pub fn disks(&self) -> &[DiskView] {
        &self.view.disks
    }

    fn rooted(&self) -> Option<&Rooted> {
        self.rooted.get_or_init(|| Rooted::find(self.all_volumes(), &self.view.disks)).as_ref()
    }

    /// Where an absolute path of the guest begins: its own root, or without one the only volume with files.
    pub fn guest_top(&self) -> Option<Spot> {
        if let Some(rooted) = self.rooted() {
            let (mount, volume, node) = rooted.top;
            return Some(Spot::Guest { way: Way::Root(mount), volume, node });
        }
        let mut with_files = (0_u32..).zip(self.volumes()).filter(|(_, volume)| volume.has_files());
        match (with_files.next(), with_files.next()) {
            (Some((number, _)), None) => Some(Spot::VolumeTop(number)),
            _ => None,
        }
    }

    /// What the guest's own tree was made of, and what of its table could not be found.
    pub fn root_notes(&self) -> &[String] {
        self.rooted().map_or(&[], |rooted| &rooted.notes)
    }

    /// The object of a spot in a guest's filesystem; `None` for those that Cairn made.
    ///
    /// # Errors
    /// Where the filesystem cannot be opened.
    pub fn guest(&self, spot: &Spot) -> GuestResult<Option<GuestObject>> {
        match *spot {
            Spot::VolumeTop(volume) => {
                let filesystem = numbered(self.all_volumes(), volume)?.filesystem()?;
                let node = filesystem.root();
                Ok(Some((volume, filesystem, node)))
            }
            Spot::Guest { volume, node, .. } => Ok(Some((volume, numbered(self.all_volumes(), volume)?.filesystem()?, node))),
            _ => Ok(None),
        }
    }

    fn disk(&self, number: u32) -> GuestResult<&DiskView> {
        let disk = usize::try_from(number).ok().and_then(|number| self.view.disks.get(number));
        disk.ok_or_else(|| GuestError::NotFound { object: format!("disk {number}") })
    }

    fn machine_file(&self, number: u32) -> GuestResult<&Arc<Vec<u8>>> {
        let file = usize::try_from(number).ok().and_then(|number| self.view.machine.get(number));
        file.map(|(_, bytes)| bytes).ok_or_else(|| GuestError::NotFound { object: format!("file {number}") })
    }

    /// The entries of the directories that are no guest's. A guest's: `None`.
    fn own_entries(&self, directory: &Spot) -> Option<Vec<(String, Spot, FileKind)>> {
        use FileKind::{Directory, Regular};
        Some(match directory {
            Spot::Top => {
                let mut entries = vec![
                    ("disks".to_owned(), Spot::Disks, Directory),
                    ("files".to_owned(), Spot::Files, Directory),
                    ("machine".to_owned(), Spot::Machine, Directory),
                ];
                if let Some(rooted) = self.rooted() {
                    let (mount, volume, node) = rooted.top;
                    entries.push(("root".to_owned(), Spot::Guest { way: Way::Root(mount), volume, node }, Directory));
                }
                entries
            }
            Spot::Disks => (0_u32..)
                .zip(&self.view.disks)
                .flat_map(|(number, disk)| {
                    [
                        (format!("{}.raw", disk.name), Spot::DiskImage(number), Regular),
                        (format!("{}.map.json", disk.name), Spot::DiskMap(number), Regular),
                    ]
                })
                .collect(),
            Spot::Files => (0_u32..)
                .zip(self.volumes())
                .filter_map(|(number, volume)| Some((volume.name.clone()?, Spot::VolumeTop(number), Directory)))
                .collect(),
            Spot::Machine => {
                (0_u32..).zip(&self.view.machine).map(|(number, (name, _))| (name.clone(), Spot::MachineFile(number), Regular)).collect()
            }
            _ => return None,
        })
    }

    /// A child of a guest's directory, or what is mounted over it.
    fn child(&self, directory: &Spot, volume: u32, node: Node) -> Spot {
        let (Spot::Guest { way: Way::Root(mount), .. }, Some(Some(rooted))) = (directory, self.rooted.get()) else {
            return Spot::Guest { way: Way::Files, volume, node };
        };
        let (mount, volume, node) = rooted.over_or_self((*mount, volume, node));
        Spot::Guest { way: Way::Root(mount), volume, node }
    }

    /// The extents of a disk as JSON, in the form that `qemu-img map --output=json` has.
    fn disk_map(&self, number: u32) -> GuestResult<Bytes> {
        let image = &self.disk(number)?.image;
        let mut lines = Vec::new();
        let mut at = 0;
        while at < image.size_bytes() {
            let mut run = image.run_at(at).map_err(io::Error::from)?;
            // Runs end with leaves of the map; neighbours of one kind are one line.
            while at + run.length_bytes < image.size_bytes() {
                let next = image.run_at(at + run.length_bytes).map_err(io::Error::from)?;
                if next.data != run.data {
                    break;
                }
                run.length_bytes += next.length_bytes;
            }
            lines.push(format!(
                "{{ \"start\": {at}, \"length\": {}, \"depth\": 0, \"present\": true, \"zero\": {}, \"data\": {} }}",
                run.length_bytes, !run.data, run.data
            ));
            at += run.length_bytes;
        }
        Ok(Bytes(Arc::new(format!("[{}]\n", lines.join(",\n")).into_bytes())))
    }
}

impl Tree for PointTree {
    type Spot = Spot;

    fn top(&self) -> Spot {
        Spot::Top
    }

    fn attributes(&self, spot: &Spot) -> GuestResult<Attributes> {
        let time = self.view.time;
        Ok(match spot {
            Spot::DiskImage(number) => {
                let image = &self.disk(*number)?.image;
                let allocated_bytes = image.allocated_bytes().map_err(io::Error::from)?;
                Attributes { allocated_bytes, ..small::file(image.size_bytes(), time) }
            }
            Spot::DiskMap(number) => small::file(self.disk_map(*number)?.size_bytes(), time),
            Spot::MachineFile(number) => small::file(self.machine_file(*number)?.len() as u64, time),
            Spot::Top | Spot::Disks | Spot::Files | Spot::Machine => small::directory(time),
            // A volume that cannot be opened is told to who enters it, not to who lists the volumes.
            Spot::VolumeTop(_) => match self.guest(spot) {
                Ok(Some((_, filesystem, node))) => filesystem.attributes(node).unwrap_or_else(|_| small::directory(time)),
                _ => small::directory(time),
            },
            Spot::Guest { .. } => match self.guest(spot)? {
                Some((_, filesystem, node)) => filesystem.attributes(node)?,
                None => small::directory(time),
            },
        })
    }

    fn lookup(&self, directory: &Spot, name: &[u8]) -> GuestResult<Option<Spot>> {
        if let Some((volume, filesystem, node)) = self.guest(directory)? {
            return Ok(filesystem.lookup(node, name)?.map(|node| self.child(directory, volume, node)));
        }
        // A point is entered without a look at its volumes, as long as nobody asks for its root.
        if *directory == Spot::Top && name != b"root" {
            return Ok(match name {
                b"disks" => Some(Spot::Disks),
                b"files" => Some(Spot::Files),
                b"machine" => Some(Spot::Machine),
                _ => None,
            });
        }
        let entries = self.own_entries(directory).ok_or_else(|| wrong_kind(directory, "directory"))?;
        Ok(entries.into_iter().find(|(found, ..)| found.as_bytes() == name).map(|(_, spot, _)| spot))
    }

    fn entries(&self, directory: &Spot, visit: &mut dyn FnMut(TreeEntry<Spot>) -> ControlFlow<()>) -> GuestResult<()> {
        if let Some((volume, filesystem, node)) = self.guest(directory)? {
            return filesystem.entries(node, &mut |Entry { name, node, kind }| {
                visit(TreeEntry { name, spot: self.child(directory, volume, node), kind })
            });
        }
        for (name, spot, kind) in self.own_entries(directory).ok_or_else(|| wrong_kind(directory, "directory"))? {
            if visit(TreeEntry { name: name.into_bytes(), spot, kind: Some(kind) }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn link_target(&self, spot: &Spot) -> GuestResult<Vec<u8>> {
        match self.guest(spot)? {
            Some((_, filesystem, node)) => filesystem.link_target(node),
            None => Err(wrong_kind(spot, "symbolic link")),
        }
    }

    fn extended_attributes(&self, spot: &Spot) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        match self.guest(spot)? {
            Some((_, filesystem, node)) => filesystem.extended_attributes(node),
            None => Ok(Vec::new()),
        }
    }

    fn open(&self, spot: &Spot) -> GuestResult<Arc<dyn FileData>> {
        Ok(match spot {
            Spot::DiskImage(number) => Arc::new(DiskFile(self.disk(*number)?.image.clone())),
            Spot::DiskMap(number) => Arc::new(self.disk_map(*number)?),
            Spot::MachineFile(number) => Arc::new(Bytes(Arc::clone(self.machine_file(*number)?))),
            _ => match self.guest(spot)? {
                Some((_, filesystem, node)) => filesystem.open(node)?,
                None => return Err(wrong_kind(spot, "regular file")),
            },
        })
    }

    fn is_settled(&self, _: &Spot) -> bool {
        true
    }

    fn base_of(&self, spot: &Spot) -> Spot {
        match *spot {
            Spot::Guest { way: Way::Root(_), .. } => self.guest_top().unwrap_or(Spot::Top),
            Spot::Guest { way: Way::Files, volume, .. } | Spot::VolumeTop(volume) => Spot::VolumeTop(volume),
            _ => Spot::Top,
        }
    }
}

fn wrong_kind(spot: &Spot, expected: &'static str) -> GuestError {
    GuestError::WrongKind { object: format!("{spot:?}"), expected }
}

/// A disk's image as a file.
struct DiskFile(Image);

impl ReadAt for DiskFile {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset_bytes, buffer)
    }
}

impl FileData for DiskFile {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        let run = self.0.run_at(offset_bytes)?;
        Ok(Run { length_bytes: run.length_bytes, place: if run.data { Place::Computed } else { Place::Hole } })
    }
}
