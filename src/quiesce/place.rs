//! On which filesystem something lies, so that nothing is frozen that Cairn itself writes to: it would wait for its own thaw.
//!
//! Device numbers of files do not tell (each subvolume of btrfs has its own); the kernel's table of mounts does. A filesystem in an
//! image file, or one laid over another, writes to that one below it, which counts too.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::QuiesceError;
use super::freeze::Mount;

/// Filesystems below filesystems are followed so far.
const MOST_LAYERS: u32 = 8;

/// The kernel's table of mounts.
#[derive(Debug)]
pub(super) struct Mounts(Vec<Row>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    id: u64,
    /// Major and minor number of the filesystem as a whole.
    device: String,
    point: PathBuf,
    /// Where an overlay puts what is written to it.
    upper: Option<PathBuf>,
}

/// Something that must not be frozen, and its role: "the vault".
#[derive(Debug, Clone)]
pub struct Protected {
    /// What it is.
    pub role: &'static str,
    /// Where it lies; it need not exist yet.
    pub path: PathBuf,
}

impl Mounts {
    pub(super) fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read("/proc/self/mountinfo")?))
    }

    fn parse(table: &[u8]) -> Self {
        Self(table.split(|&byte| byte == b'\n').filter_map(row).collect())
    }

    fn of_mount(&self, id: u64) -> Option<&Row> {
        self.0.iter().find(|row| row.id == id)
    }

    /// The filesystems that take part when something is written to a place: its own first, then those below.
    fn devices(&self, path: &Path) -> Vec<String> {
        let mut devices = Vec::new();
        let mut next = nearest(path);
        for _ in 0..MOST_LAYERS {
            let Some(row) = next.take().and_then(|path| mount_id(&path).ok()).and_then(|id| self.of_mount(id)) else { break };
            devices.push(row.device.clone());
            next = row.upper.clone().or_else(|| backing_file(&row.device)).and_then(|path| nearest(&path));
        }
        devices
    }

    /// Opens the mount points that are to be frozen, `/` last, after looking whether they may be.
    pub(super) fn open(&self, points: &[PathBuf], protected: &[Protected]) -> Result<Vec<Mount>, QuiesceError> {
        let refused = |why: String| Err(QuiesceError::Refused(why));
        let mut opened: Vec<(Mount, String)> = Vec::new();
        let (root, others): (Vec<_>, Vec<_>) = points.iter().partition(|point| point.as_path() == Path::new("/"));
        for point in others.into_iter().chain(root) {
            let (mount, device) = self.open_one(point)?;
            if let Some((other, _)) = opened.iter().find(|(_, other)| *other == device) {
                return refused(format!("{} and {} are one filesystem; name it once", other.path.display(), mount.path.display()));
            }
            opened.push((mount, device));
        }
        for Protected { role, path } in protected {
            let devices = self.devices(path);
            if let Some((mount, _)) = opened.iter().find(|(_, device)| devices.contains(device)) {
                let (point, path) = (mount.path.display(), path.display());
                return refused(format!("{point} cannot be frozen: {role} ({path}) lies on it, and Cairn would wait for its own thaw"));
            }
        }
        Ok(opened.into_iter().map(|(mount, _)| mount).collect())
    }

    fn open_one(&self, point: &Path) -> Result<(Mount, String), QuiesceError> {
        let failed = |why: String| QuiesceError::Refused(format!("the mount point {} cannot be opened (123): {why}", point.display()));
        let directory = fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(point);
        let directory = directory.map_err(|error| failed(error.to_string()))?;
        let device = directory.metadata().map_err(|error| failed(error.to_string()))?.dev();
        let path = point.canonicalize().map_err(|error| failed(error.to_string()))?;
        let id = opened_mount_id(&directory).map_err(|error| failed(error.to_string()))?;
        let row = self.of_mount(id).ok_or_else(|| failed("it is not in the table of mounts".to_owned()))?;
        if row.point != path {
            let why = format!("{} is no mount point; its filesystem is mounted at {}", path.display(), row.point.display());
            return Err(QuiesceError::Refused(why));
        }
        Ok((Mount { path, directory, device }, row.device.clone()))
    }
}

/// What this process writes to besides the terminal: where its output goes, and temporary files.
pub(super) fn own_places() -> Vec<Protected> {
    let mut places = vec![Protected { role: "the directory for temporary files", path: std::env::temp_dir() }];
    for (descriptor, role) in [(1, "Cairn's output"), (2, "Cairn's log")] {
        let Ok(path) = fs::read_link(format!("/proc/self/fd/{descriptor}")) else { continue };
        if path.metadata().is_ok_and(|metadata| metadata.is_file()) {
            places.push(Protected { role, path });
        }
    }
    places
}

fn row(line: &[u8]) -> Option<Row> {
    let mut fields = line.split(|&byte| byte == b' ');
    let text = |field: &[u8]| std::str::from_utf8(field).ok().map(str::to_owned);
    let id = text(fields.next()?)?.parse().ok()?;
    let device = text(fields.nth(1)?)?;
    let point = PathBuf::from(std::ffi::OsString::from_vec(unescape(fields.nth(1)?)));
    let kind = fields.by_ref().skip_while(|field| *field != b"-").nth(1)?;
    let options = fields.nth(1).unwrap_or_default();
    let upper = options.split(|&byte| byte == b',').find_map(|option| option.strip_prefix(b"upperdir=")).filter(|_| kind == b"overlay");
    Some(Row { id, device, point, upper: upper.map(|upper| PathBuf::from(std::ffi::OsStr::from_bytes(&unescape(upper)))) })
}

/// Takes back what the kernel writes for spaces and the like: `\040`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

/// The path itself, or the first directory above it that exists.
fn nearest(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|path| path.canonicalize().ok())
}

fn mount_id(path: &Path) -> io::Result<u64> {
    opened_mount_id(&fs::OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?)
}

fn opened_mount_id(file: &File) -> io::Result<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).and_then(|id| id.trim().parse().ok());
    id.ok_or_else(|| io::Error::other("the kernel does not say on which mount it lies"))
}

/// The file that a loop device, or a partition of one, is made of.
fn backing_file(device: &str) -> Option<PathBuf> {
    let block = Path::new("/sys/dev/block").join(device).canonicalize().ok()?;
    let name = [block.as_path(), block.parent()?].iter().find_map(|block| fs::read(block.join("loop/backing_file")).ok())?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(name.trim_ascii_end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 24 0:30 /sub /mnt/a\\040b rw,relatime shared:5 master:1 - btrfs /dev/vdb rw,subvol=/sub
31 24 0:40 / /merged rw - overlay overlay rw,lowerdir=/l,upperdir=/upper,workdir=/w
broken line
";

    #[test]
    fn the_table_of_mounts_is_read() {
        let mounts = Mounts::parse(TABLE.as_bytes());
        assert_eq!(mounts.0.len(), 3);
        let row = |id| mounts.of_mount(id).cloned().unwrap();
        assert_eq!(row(30), Row { id: 30, device: "0:30".to_owned(), point: "/mnt/a b".into(), upper: None });
        assert_eq!(row(31).upper, Some("/upper".into()));
        assert_eq!(mounts.of_mount(32), None);
    }

    #[test]
    fn the_place_of_a_file_is_known_before_it_exists() {
        let mounts = Mounts::read().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let devices = mounts.devices(&directory.path().join("not/yet/there"));
        assert!(!devices.is_empty());
        assert_eq!(devices, mounts.devices(directory.path()));
        assert_ne!(devices.first(), mounts.devices(Path::new("/proc/self")).first());
    }

    #[test]
    fn what_may_not_be_frozen_is_refused_before_anything_is() {
        let mounts = Mounts::read().unwrap();
        let refusal = |points: &[&str], protected: &[&str]| {
            let protected: Vec<_> = protected.iter().map(|path| Protected { role: "the vault", path: path.into() }).collect();
            let points: Vec<PathBuf> = points.iter().map(PathBuf::from).collect();
            mounts.open(&points, &protected).map(|mounts| mounts.len()).map_err(|error| error.to_string())
        };
        assert!(refusal(&["/no/such/place"], &[]).unwrap_err().contains("cannot be opened (123)"));
        let directory = tempfile::tempdir().unwrap();
        assert!(refusal(&[directory.path().to_str().unwrap()], &[]).unwrap_err().contains("is no mount point"));
        assert!(refusal(&["/proc", "/proc"], &[]).unwrap_err().contains("are one filesystem"));
        assert!(refusal(&["/", "/proc"], &["/proc/self/new"]).unwrap_err().starts_with("/proc cannot be frozen: the vault"));
        assert_eq!(refusal(&["/", "/proc"], &[]), Ok(2));
    }

    #[test]
    fn the_root_is_last() {
        let points = ["/", "/proc"].map(PathBuf::from);
        let opened = Mounts::read().unwrap().open(&points, &[]).unwrap();
        assert_eq!(opened.iter().map(|mount| mount.path.as_path()).collect::<Vec<_>>(), [Path::new("/proc"), Path::new("/")]);
    }
}
