//! The kit holds itself to its promises: a reader that shows what the kernel shows is found the same, any other is found out.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::*;
use crate::guestfs::{
    About, Attributes, DeviceNumber, Entry, FileData, FileKind, FileSystem, GuestError, GuestResult, Node, Place, Run, Timestamp,
};
use crate::io::ReadAt;

/// A reader of what the kernel shows. Nodes are places in the list of paths.
struct Shown {
    about: About,
    paths: Mutex<Vec<PathBuf>>,
    /// Told wrong, to be found out.
    lie: &'static str,
}

struct Contents(File, u64);

impl Shown {
    fn new(root: &Path, lie: &'static str) -> Self {
        Self { about: About::default(), paths: Mutex::new(vec![root.to_owned()]), lie }
    }

    fn path(&self, node: Node) -> PathBuf {
        self.paths.lock().expect("no panic")[node.0 as usize].clone()
    }

    fn node(&self, path: PathBuf) -> Node {
        let mut paths = self.paths.lock().expect("no panic");
        let number = |path: &Path| path.symlink_metadata().expect("it is there").ino();
        let own = number(&path);
        let at = paths.iter().position(|known| *known == path || number(known) == own).unwrap_or_else(|| {
            paths.push(path);
            paths.len() - 1
        });
        Node(at as u64)
    }
}

impl FileSystem for Shown {
    fn about(&self) -> &About {
        &self.about
    }

    fn root(&self) -> Node {
        Node(0)
    }

    fn attributes(&self, node: Node) -> GuestResult<Attributes> {
        let found = self.path(node).symlink_metadata()?;
        let kind = FileKind::of_mode(found.mode()).expect("the kernel knows the kinds");
        let device = DeviceNumber { major: rustix::fs::major(found.rdev()), minor: rustix::fs::minor(found.rdev()) };
        let lie = i64::from(self.lie == "time");
        Ok(Attributes {
            kind,
            size_bytes: found.len(),
            allocated_bytes: found.blocks() * 512,
            mode: (found.mode() & 0o7777) as u16,
            uid: found.uid(),
            gid: found.gid(),
            links: found.nlink() as u32,
            device: matches!(kind, FileKind::BlockDevice | FileKind::CharacterDevice).then_some(device),
            modified: Timestamp { seconds: found.mtime() + lie, nanoseconds: found.mtime_nsec() as u32 },
            changed: Some(Timestamp { seconds: found.ctime(), nanoseconds: found.ctime_nsec() as u32 }),
            accessed: None,
            created: None,
        })
    }

    fn entries(&self, directory: Node, visit: &mut dyn FnMut(Entry) -> ControlFlow<()>) -> GuestResult<()> {
        for entry in std::fs::read_dir(self.path(directory))? {
            let path = entry?.path();
            let name = path.file_name().expect("it has one").as_bytes().to_vec();
            if self.lie == "entries" && name == b"leaf.txt" {
                continue;
            }
            if visit(Entry { name, node: self.node(path), kind: None }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn link_target(&self, node: Node) -> GuestResult<Vec<u8>> {
        Ok(std::fs::read_link(self.path(node))?.into_os_string().into_vec())
    }

    fn extended_attributes(&self, node: Node) -> GuestResult<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(kernel::attributes(&self.path(node)).into_iter().collect())
    }

    fn open(&self, node: Node) -> GuestResult<Arc<dyn FileData>> {
        let path = self.path(node);
        if !path.symlink_metadata()?.is_file() {
            return Err(GuestError::WrongKind { object: "it".to_owned(), expected: "regular file" });
        }
        let lie = u64::from(self.lie == "contents" && path.ends_with("leaf.txt"));
        Ok(Arc::new(Contents(File::open(path)?, lie)))
    }
}

impl ReadAt for Contents {
    fn size_bytes(&self) -> u64 {
        self.0.metadata().expect("it is there").len()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset_bytes)?;
        buffer[0] ^= self.1 as u8;
        Ok(())
    }
}

impl FileData for Contents {
    fn run_at(&self, offset_bytes: u64) -> io::Result<Run> {
        let length_bytes = self.size_bytes().saturating_sub(offset_bytes);
        Ok(Run { length_bytes, place: if length_bytes == 0 { Place::Hole } else { Place::Computed } })
    }
}

#[test]
fn a_mirror_of_the_kernel_is_the_same_and_a_liar_is_found_out() {
    let directory = tempfile::tempdir().expect("a place");
    let image = directory.path().join("image");
    sparse_file(&image, 64 << 20);
    if run("mkfs.ext4", &["-q", "-F", "-O", "ea_inode", text(&image)]).is_none() {
        return;
    }
    let Some(mounted) = Mounted::loop_mount(&image, "ext4", "") else { return };
    populate(mounted.path(), &Population { longest_attribute: 60_000, ..Population::posix().tiny() });
    std::fs::create_dir(mounted.join("plain")).expect("room");
    populate(&mounted.join("plain"), &Population::plain().tiny());
    drop(mounted);
    let mounted = Mounted::loop_mount(&image, "ext4", "ro,noatime").expect("it was mounted before");
    let truth: Tree = kernel_tree(mounted.path());
    assert!(truth.values().any(|item: &Item| item.links > 2 && item.kind == FileKind::Regular));
    assert!(truth.len() > 600, "{} objects", truth.len());
    assert_same(&truth, &guest_tree(&Shown::new(mounted.path(), "")), &[]);
    for (lie, said) in [("time", "Modified"), ("entries", "missing"), ("contents", "Content")] {
        let found: Walked = walk(&Shown::new(mounted.path(), lie), &Limits::sound().on(&[device(&image)]));
        let differences = differences(&truth, &found.tree, &[Field::Accessed]);
        assert!(differences.iter().any(|difference| difference.contains(said)), "{lie}: {differences:?}");
    }
    assert!(Mounted::try_loop_mount(&image, "iso9660", "ro").is_err());
}

#[test]
#[should_panic(expected = "nothing was tested")]
fn damage_to_what_no_reader_opens_is_no_test() {
    let image = vec![0; 4096];
    let spots = std::slice::from_ref(&(0..100));
    assert_eq!(Noise::new(1).bytes(9), Noise::new(1).bytes(9));
    let survival: Survival = survive_damage(&image, spots, 1, &|bytes, touched| bytes[touched[0]] = 1);
    assert_eq!((survival.rounds, survival.hurt, survival.objects), (1, 0, 0));
}
