//! Volumes made by mkfs.exfat and filled through exfat-fuse, compared with what exfat-fuse shows of them, and volumes broken by hand.

use std::io;
use std::path::{Path, PathBuf};

use super::*;
use crate::guestfs::testing::{
    Field, Limits, Population, Tree, assert_same, device, guest_tree, kernel_tree, populate, run, sparse_file, survive_damage, text, walk,
};
use crate::guestfs::{identify as identify_any, open as open_any};
use crate::io::MemoryAt;

const NOT_IN_EXFAT: [Field; 10] = [
    Field::Mode,
    Field::Uid,
    Field::Gid,
    Field::Links,
    Field::DirectoryLinks,
    Field::DirectorySize,
    Field::Allocated,
    Field::Attributes,
    Field::Created,
    Field::Changed,
];

fn opened(device: Device) -> Box<dyn FileSystem> {
    open_any(&[device], &OpenOptions::default()).expect("it opens")
}

fn memory(bytes: &[u8]) -> Device {
    Arc::new(MemoryAt::new(bytes.to_vec()))
}

/// A volume that exfat-fuse shows, which wants a loop device.
struct Fused {
    place: tempfile::TempDir,
    image: PathBuf,
    device: String,
}

#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
fn skipped() {
    eprintln!("SKIPPED: no exfat-fuse here, or no root, or no /dev/fuse");
}

impl Fused {
    fn mount(image: &Path, options: &str) -> Option<Self> {
        let is_there = ["/sbin", "/usr/sbin", "/usr/local/sbin"].iter().any(|place| Path::new(place).join("mount.exfat-fuse").exists());
        if !is_there || !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
            skipped();
            return None;
        }
        let device = run("losetup", &["-f", "--show", text(image)])?.trim().to_owned();
        let place = tempfile::tempdir().expect("a place to mount at");
        run("env", &["TZ=UTC", "mount.exfat-fuse", "-o", options, &device, text(place.path())])?;
        Some(Self { place, image: image.to_owned(), device })
    }

    fn path(&self) -> PathBuf {
        self.place.path().to_owned()
    }
}

impl Drop for Fused {
    fn drop(&mut self) {
        // Children that other tests start may have its files open for a moment.
        for _ in 0..100 {
            if std::process::Command::new("umount").arg(self.place.path()).output().is_ok_and(|output| output.status.success()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // exfat-fuse ends after umount does, and only then is all on the device.
        run("losetup", &["-d", &self.device]);
        for _ in 0..200 {
            if run("losetup", &["-j", text(&self.image)]).is_none_or(|list| list.is_empty()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn make(image: &Path, size_bytes: u64, options: &[&str]) -> bool {
    sparse_file(image, size_bytes);
    run("mkfs.exfat", &[options, &["-L", "My label", text(image)]].concat()).is_some()
}

/// What exfat-fuse shows; times of reading are those of a day in it.
fn expected(image: &Path) -> Option<Tree> {
    let fused = Fused::mount(image, "ro")?;
    let mut tree = kernel_tree(&fused.path());
    for item in tree.values_mut() {
        item.accessed = None;
    }
    Some(tree)
}

#[test]
fn volumes_hold_what_exfat_fuse_shows() {
    let place = tempfile::tempdir().expect("a directory");
    let image = place.path().join("image");
    for (size, options) in [(24 << 20, &["-c", "512"][..]), (48 << 20, &["-c", "4K"]), (600 << 20, &["-c", "128K"])] {
        if !make(&image, size, options) {
            return;
        }
        let Some(filled) = Fused::mount(&image, "rw") else { return };
        populate(&filled.path(), &Population { many: 300, ..Population::plain().tiny() });
        drop(filled);
        let Some(expected) = expected(&image) else { return };
        let fs = opened(device(&image));
        let mut found = guest_tree(fs.as_ref());
        let root = found.get_mut(&b""[..]).expect("there is one");
        root.modified = expected[&b""[..]].modified;

        assert!(expected.len() > 500);
        assert_same(&expected, &found, &NOT_IN_EXFAT);
        let about = fs.about();
        let sum: u64 = found.iter().filter(|(path, _)| !path.is_empty()).map(|(_, item)| item.allocated_bytes).sum();
        let used = about.used_bytes.expect("there is a bitmap");
        assert!(used > sum && used < sum + (1 << 20), "{used} bytes are used, {sum} by files");
        compare_with_blkid(&image);
    }
}

fn compare_with_blkid(image: &Path) {
    let Some(known) = run("blkid", &["-p", "-o", "export", text(image)]) else { return };
    let identity = identify_any(device(image).as_ref()).expect("read").expect("known");
    let value = |name: &str| known.lines().find_map(|line| line.strip_prefix(&format!("{name}=")).map(|value| value.replace('\\', "")));
    assert_eq!(value("TYPE").as_deref(), Some(identity.kind));
    assert_eq!(value("LABEL"), identity.label);
    assert_eq!(value("UUID"), identity.uuid);
}

/// A small volume with a file of known contents and a directory of many entries, in clusters of 512 bytes.
fn small() -> Option<Vec<u8>> {
    let place = tempfile::tempdir().expect("a directory");
    let image = place.path().join("image");
    if !make(&image, 4 << 20, &["-c", "512"]) {
        return None;
    }
    let fused = Fused::mount(&image, "rw")?;
    let folder = fused.path().join("Folder \u{e9}");
    std::fs::create_dir(&folder).expect("makes");
    for number in 0..60 {
        std::fs::write(folder.join(format!("a file with a name of some length, number {number}")), vec![number; 700]).expect("writes");
    }
    std::fs::write(fused.path().join("number.bin"), (0..20_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()).expect("writes");
    std::fs::write(fused.path().join("empty"), b"").expect("writes");
    drop(fused);
    Some(std::fs::read(&image).expect("reads"))
}

fn node(fs: &dyn FileSystem, path: &[&str]) -> Node {
    path.iter().fold(fs.root(), |node, name| fs.lookup(node, name.as_bytes()).expect("reads").expect("is there"))
}

/// Changes the set of a file with `change` and mends its checksum.
fn with_set(bytes: &mut [u8], name: &str, change: impl FnOnce(&mut [u8])) {
    let fs = opened(memory(bytes));
    let place = node(fs.as_ref(), &[name]).0 as usize;
    let length = entry_set::set_bytes(&bytes[place..]).expect("a set");
    let set = &mut bytes[place..place + length];
    change(set);
    let sum = entry_set::checksum(set);
    set[2..4].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn names_are_found_without_regard_to_case_and_sets_across_clusters() {
    let Some(bytes) = small() else { return };
    let fs = opened(memory(&bytes));
    let folder = node(fs.as_ref(), &["FOLDER \u{c9}"]);
    assert_eq!(folder, node(fs.as_ref(), &["Folder \u{e9}"]));
    assert_eq!(fs.lookup(folder, b"..").expect("reads"), None);
    let mut crossing = 0;
    fs.entries(folder, &mut |entry| {
        let found = fs.attributes(entry.node).expect("its set is whole");
        assert_eq!((found.size_bytes, found.allocated_bytes), (700, 1024));
        crossing += u32::from(entry.node.0 / 512 != (entry.node.0 + 5 * 32) / 512);
        ControlFlow::Continue(())
    })
    .expect("lists");
    assert!(crossing > 10, "sets reach over clusters");
    for wrong in [1, 32, folder.0 + 32, u64::MAX] {
        assert!(fs.attributes(Node(wrong)).is_err() && fs.open(Node(wrong)).is_err(), "{wrong}");
    }
    assert!(fs.open(folder).is_err() && fs.link_target(folder).is_err());
}

#[test]
fn what_was_never_written_is_zeros_and_flags_are_attributes() {
    let Some(mut bytes) = small() else { return };
    with_set(&mut bytes, "number.bin", |set| {
        set[4] |= 0x03;
        set[32 + 8..32 + 16].copy_from_slice(&1001_u64.to_le_bytes());
    });
    let fs = opened(memory(&bytes));
    let number = node(fs.as_ref(), &["number.bin"]);
    assert_eq!(fs.attributes(number).expect("is there").mode, 0o444);
    assert_eq!(fs.extended_attributes(number).expect("reads"), [(b"system.fat_attrib".to_vec(), vec![0x23, 0, 0, 0])]);
    let file = fs.open(number).expect("opens");
    let mut all = vec![1; 80_000];
    file.read_at(0, &mut all).expect("reads");
    assert_eq!(all[996..1001], [249, 0, 0, 0, 250]);
    assert!(all[1001..].iter().all(|&byte| byte == 0));
}

#[test]
fn a_wrong_checksum_is_told_after_all_names() {
    let Some(mut bytes) = small() else { return };
    let before = opened(memory(&bytes));
    let place = node(before.as_ref(), &["empty"]).0 as usize;
    bytes[place + 2] ^= 1;
    let fs = opened(memory(&bytes));
    let mut names = 0;
    let error = fs.entries(fs.root(), &mut |_| {
        names += 1;
        ControlFlow::Continue(())
    });
    assert!(error.expect_err("it is damaged").to_string().contains("1 of its files"));
    assert_eq!(names, 3);
}

#[test]
fn boot_sectors_are_replaced_by_their_copy_and_dirty_is_said() {
    let Some(mut bytes) = small() else { return };
    let sound = guest_tree(opened(memory(&bytes)).as_ref());
    bytes[106] |= 2;
    assert_eq!(opened(memory(&bytes)).about().notes, ["it was not unmounted cleanly"]);
    bytes[106] &= !2;
    bytes[88] ^= 8;
    let fs = opened(memory(&bytes));
    assert_eq!(fs.about().notes, ["its boot sector is damaged: the copy was used"]);
    assert_eq!(guest_tree(fs.as_ref()), sound);
    bytes[20] = 1;
    assert_eq!(identify_any(memory(&bytes).as_ref()).expect("read"), None, "FAT has numbers where exFAT has zeros");
}

#[test]
fn clusters_without_a_chain_past_the_end_are_damage() {
    let Some(mut bytes) = small() else { return };
    let count = boot::read(memory(&bytes).as_ref()).expect("read").expect("known").0.clusters.count;
    with_set(&mut bytes, "number.bin", |set| {
        set[32 + 1] |= 2;
        set[32 + 20..32 + 24].copy_from_slice(&(count - 1).to_le_bytes());
    });
    let fs = opened(memory(&bytes));
    let file = fs.open(node(fs.as_ref(), &["number.bin"])).expect("opens");
    file.read_at(0, &mut [0; 3 * 512]).expect("the last three clusters");
    let error: io::Error = file.read_at(3 * 512, &mut [0; 1]).expect_err("past them");
    assert!(error.to_string().contains("past the last cluster"), "{error}");
}

#[test]
fn a_size_that_does_not_fit_and_a_directory_cut_short_are_damage() {
    let Some(mut bytes) = small() else { return };
    with_set(&mut bytes, "number.bin", |set| set[32 + 24..32 + 32].copy_from_slice(&(1_u64 << 40).to_le_bytes()));
    let (boot, _) = boot::read(memory(&bytes).as_ref()).expect("read").expect("known");
    let mut first = 0;
    with_set(&mut bytes, "Folder \u{e9}", |set| {
        set[32 + 1] &= !2;
        first = le32(set, 32 + 20) as usize;
    });
    let entry = boot.table[0] as usize + first * 4;
    bytes[entry..entry + 4].copy_from_slice(&[0xff; 4]);
    let fs = opened(memory(&bytes));
    let Err(error) = fs.open(node(fs.as_ref(), &["number.bin"])) else { panic!("it opens") };
    assert!(error.to_string().contains("more than the volume has"), "{error}");
    let mut names = 0;
    let error = fs.entries(node(fs.as_ref(), &["Folder \u{e9}"]), &mut |_| {
        names += 1;
        ControlFlow::Continue(())
    });
    assert!(error.expect_err("it is cut short").to_string().contains("its chain ends after 512 bytes") && names == 3, "{names}");
}

#[test]
fn damaged_volumes_are_walked_to_the_end() {
    let Some(bytes) = small() else { return };
    let (boot, _) = boot::read(memory(&bytes).as_ref()).expect("read").expect("known");
    let root = boot.clusters.offset(boot.root).expect("inside") as usize;
    let fs = opened(memory(&bytes));
    let mut spots = vec![64..120, boot.table[0] as usize..boot.table[0] as usize + 1200, root..root + 512];
    let folder = fs.open(node(fs.as_ref(), &["Folder \u{e9}"]));
    assert!(folder.is_err());
    fs.entries(node(fs.as_ref(), &["Folder \u{e9}"]), &mut |entry| {
        spots.push(entry.node.0 as usize..entry.node.0 as usize + 64);
        ControlFlow::Continue(())
    })
    .expect("lists");
    // Every other round the checksums are as they were, and wrong; else those of the boot region and of all sets in the root are mended.
    let survival = survive_damage(&bytes, &spots, 300, &|image, touched| {
        if touched.iter().sum::<usize>() % 2 == 0 {
            return;
        }
        for place in (root..root + 512).step_by(32) {
            if let Some(length) = entry_set::set_bytes(&image[place..]).filter(|length| place + length <= root + 512) {
                let sum = entry_set::checksum(&image[place..place + length]);
                image[place + 2..place + 4].copy_from_slice(&sum.to_le_bytes());
            }
        }
    });
    assert!(survival.hurt > 30, "{survival:?}");
    let walked = walk(opened(memory(&bytes)).as_ref(), &Limits::sound());
    assert!(walked.problems.is_empty());
}
