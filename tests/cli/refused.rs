//! What cannot be read or mounted: each is told with its cure, touches only what it must, and ends where the cause ends.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::Advice;

use crate::fuse::{Mount, as_nobody, can_mount, is_mounted, nobody};
use crate::guest::{Guest, sh, with_guest};
use crate::mounted::names;
use crate::place::{CHUNK, Ended, Place, noise};

fn small_vault() -> Place {
    let place = Place::with_vault();
    let disk = format!("vda={}", place.image("d.img", &noise(1, CHUNK)));
    place.ok(&["backup", "web01", "--disk", &disk]);
    place
}

#[test]
fn who_may_not_write_to_a_directory_may_not_mount_on_it() {
    let place = small_vault();
    let Some(mut command) = as_nobody(&place, &["/usr/share", "web01"]) else { return };
    Ended::of(&command.output().unwrap()).failed(1, "/usr/share is not empty");
    let at = place.path("mnt");
    fs::create_dir(&at).unwrap();
    let Some(mut command) = as_nobody(&place, &[at.to_str().unwrap(), "web01"]) else { return };
    std::os::unix::fs::chown(&at, Some(0), Some(0)).unwrap();
    let ended = Ended::of(&command.output().unwrap());
    ended.failed(1, "cannot be mounted on");
    assert!(ended.errors.contains("no write access"), "{}", ended.errors);
    // One that he may not even look into.
    fs::set_permissions(&at, fs::Permissions::from_mode(0o700)).unwrap();
    Ended::of(&command.output().unwrap()).failed(1, "cannot be used: Permission denied");
    assert!(!is_mounted(&at));
}

#[test]
fn a_mount_of_somebody_else_is_told_with_how_to_end_it() {
    let place = small_vault();
    let at = place.path("mnt");
    fs::create_dir(&at).unwrap();
    let Some(command) = as_nobody(&place, &[at.to_str().unwrap(), "web01"]) else { return };
    let first = Mount::spawn(command, at.clone());
    let again = nobody(&place, &[&place.text_path("cairn"), "mount", at.to_str().unwrap(), "web01"]).output().unwrap();
    let ended = Ended::of(&again);
    ended.failed(1, &format!("mounted on it already; end that with: fusermount3 -u {}", at.display()));
    first.end();
}

#[test]
fn without_fuse_it_is_said_how_to_get_it_and_the_rest_works() {
    let place = small_vault();
    let at = place.path("mnt");
    fs::create_dir(&at).unwrap();
    let cairn = assert_cmd::cargo::cargo_bin("cairn");
    // In a namespace of its own /dev is empty, as it is in a small container.
    let without = |words: &[&str]| {
        let mut command = Command::new("/usr/bin/unshare");
        command.args(["--mount", "sh", "-c", "mount -t tmpfs tmpfs /dev && exec \"$0\" \"$@\""]).arg(&cairn).args(words);
        Ended::of(&place.environment(&mut command).env("PATH", "/usr/bin:/bin").output().unwrap())
    };
    if !rustix::process::getuid().is_root() {
        return;
    }
    let refused = without(&["mount", at.to_str().unwrap(), "web01"]);
    refused.failed(1, "this system has no FUSE (/dev/fuse: No such file or directory");
    assert!(refused.errors.contains("modprobe fuse") && refused.errors.contains("ls, cat, cp and tar need no FUSE"), "{}", refused.errors);
    assert_eq!(without(&["ls", "web01@latest:disks"]).output, "vda.map.json\nvda.raw\n");
    assert_eq!(without(&["cp", "web01@latest:disks/vda.raw", &place.text_path("out.raw")]).code, Some(0));
    assert_eq!(without(&["tar", "web01@latest:disks", "-o", &place.text_path("out.tar")]).code, Some(0));
    assert!(fs::read(place.path("out.raw")).unwrap() == noise(1, CHUNK));
}

#[test]
fn a_user_without_the_program_that_mounts_is_told_which_it_is() {
    let place = small_vault();
    let at = place.path("mnt");
    fs::create_dir(&at).unwrap();
    let Some(_) = as_nobody(&place, &[]) else { return };
    let mut command = Command::new("/usr/bin/setpriv");
    place.environment(&mut command).env("PATH", "/nowhere").args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let ended = Ended::of(&command.arg(place.path("cairn")).arg("mount").arg(&at).arg("web01").output().unwrap());
    ended.failed(1, "fusermount3, which is not here; install the package fuse3");
    assert!(ended.errors.contains("ls, cat, cp and tar need no FUSE"), "{}", ended.errors);
}

/// The pack that has these bytes as they are, and where.
fn pack_with(place: &Place, bytes: &[u8]) -> (PathBuf, usize) {
    let directories = fs::read_dir(place.path("vault/packs")).unwrap().map(|entry| entry.unwrap().path());
    let mut packs = directories.flat_map(|path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
    let at = |path: &PathBuf| fs::read(path).unwrap().windows(bytes.len()).position(|window| window == bytes);
    packs.find_map(|path| at(&path).map(|at| (path, at))).expect("noise is stored as it is")
}

/// A guest whose large file lies in a pack of its own: another disk had its bytes first. Gives the pack as well, and where the middle of the
/// file is in it.
fn with_large_file_apart() -> (Place, Vec<u8>, PathBuf, usize) {
    let place = Place::with_vault();
    let contents = noise(7, 4 << 20);
    let disk = format!("vda={}", place.image("first.img", &contents));
    place.ok(&["backup", "first", "--disk", &disk]);
    let guest = Guest::make(&place);
    place.ok(&["backup", "web01", "--disk", &guest.disk()]);
    let (pack, at) = pack_with(&place, &contents[MIDDLE..MIDDLE + 64]);
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    (place, contents, pack, at)
}

/// A place in the middle of the large file.
const MIDDLE: usize = 2 << 20;

#[test]
fn what_is_missing_below_an_open_file_is_an_error_of_that_file_alone() {
    if !can_mount() {
        return;
    }
    let (place, contents, pack, _) = with_large_file_apart();
    // Before the mount, which keeps packs open that it has read from: who has begun to read one reads on.
    fs::rename(&pack, place.path("away")).unwrap();
    let mount = Mount::start(&place, &["web01", "--cache", "1M"]);
    let file = File::open(mount.path("web01/latest/root/var/lib/noise")).unwrap();
    rustix::fs::fadvise(&file, 0, None, Advice::Random).unwrap();
    let mut block = vec![0; 4096];
    assert_eq!(file.read_at(&mut block, MIDDLE as u64).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(fs::read_to_string(mount.path("web01/latest/root/etc/hostname")).unwrap(), "guest\n");
    assert_eq!(fs::read(mount.path("web01/latest/root/var/lib/text")).unwrap().len(), 1_288_895);
    fs::rename(place.path("away"), &pack).unwrap();
    file.read_exact_at(&mut block, MIDDLE as u64).unwrap();
    assert!(block == contents[MIDDLE..MIDDLE + 4096]);
    drop(file);
    let (_, errors) = mount.end();
    assert!(errors.contains(pack.file_name().unwrap().to_str().unwrap()) && errors.contains("of the disk"), "{errors}");
}

#[test]
fn damage_below_an_open_file_is_an_error_of_that_range_alone() {
    if !can_mount() {
        return;
    }
    let (place, contents, pack, at) = with_large_file_apart();
    let mount = Mount::start(&place, &["web01", "--cache", "1M"]);
    let file = File::open(mount.path("web01/latest/root/var/lib/noise")).unwrap();
    rustix::fs::fadvise(&file, 0, None, Advice::Random).unwrap();
    let mut block = vec![0; 4096];
    file.read_exact_at(&mut block, 0).unwrap();
    // In place, since the mount has the pack open by now.
    let flip = || {
        let pack = File::options().read(true).write(true).open(&pack).unwrap();
        let mut byte = [0];
        pack.read_exact_at(&mut byte, at as u64).unwrap();
        pack.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
    };
    flip();
    assert_eq!(file.read_at(&mut block, MIDDLE as u64).unwrap_err().raw_os_error(), Some(5));
    for readable in [0, contents.len() / 8, contents.len() - 4096] {
        file.read_exact_at(&mut block, readable as u64).unwrap();
        assert!(block == contents[readable..readable + 4096], "{readable}");
    }
    // The same for who copies: the one that was named fails, and in a directory it is the only one.
    let name = pack.file_name().unwrap().to_str().unwrap();
    let target = place.text_path("out");
    place.in_vault("", &["cp", "web01@latest:/var/lib/noise", &target]).failed(1, name);
    assert!(!place.path("out").exists(), "a part has the name of the whole");
    let ended = place.in_vault("", &["cp", "-a", "web01@latest:/var/lib", &target]);
    assert_eq!(ended.code, Some(3), "{}", ended.errors);
    assert_eq!(ended.errors.matches("warning: /var/lib/noise: bytes ").count(), 1, "{}", ended.errors);
    assert!(names(&place.path("out")).contains(&"text".to_owned()) && !place.path("out/noise").exists());
    let cat = place.command(&[("CAIRN_VAULT", &place.vault())], &["cat", "web01@latest:/var/lib/noise"]).output().unwrap();
    assert!(cat.status.code() == Some(1) && contents.starts_with(&cat.stdout), "it goes on after a gap");
    flip();
    file.read_exact_at(&mut block, MIDDLE as u64).unwrap();
    assert!(block == contents[MIDDLE..MIDDLE + 4096]);
    drop(file);
    let (_, errors) = mount.end();
    assert!(errors.contains(name) && errors.contains("of the disk"), "{errors}");
}

#[test]
fn a_filesystem_larger_than_its_disk_is_read_as_far_as_it_goes() {
    let place = Place::with_vault();
    fs::create_dir(place.path("tree")).unwrap();
    fs::write(place.path("tree/a-first"), "whole").unwrap();
    let large = noise(9, 24 << 20);
    fs::write(place.path("tree/large"), &large).unwrap();
    sh("mkfs.ext4 -q -F -O ^has_journal -d \"$1\" \"$2\" 32768k", &[&place.path("tree"), &place.path("fs.img")]);
    File::options().write(true).open(place.path("fs.img")).unwrap().set_len(16 << 20).unwrap();
    place.ok(&["backup", "cut", "--disk", &format!("vda={}", place.text_path("fs.img"))]);
    assert_eq!(place.ok(&["cat", "cut@latest:/a-first"]), "whole");
    place.in_vault("", &["cp", "cut@latest:/large", &place.text_path("out")]).failed(1, "past the end of the volume");
    assert!(!place.path("out").exists());
    let told = place.json(&["volumes", "cut@latest"]);
    assert!(told["volumes"][0]["notes"].to_string().contains("33554432 bytes, more than its volume with 16777216"), "{told}");
    // A table of partitions that lie beyond the end.
    let (place, guest) = with_guest();
    File::options().write(true).open(&guest.image).unwrap().set_len(80 << 20).unwrap();
    place.ok(&["backup", "web01", "--disk", &guest.disk()]);
    assert_eq!(place.ok(&["cat", "web01@latest:/etc/hostname"]), "guest\n");
    let told = place.ok(&["volumes", "web01@latest"]);
    assert!(told.contains("the disk is smaller than when the partition table was made"), "{told}");
    assert!(told.contains("partition 3 of sda cannot be put together") && told.contains("/dev/sda3 is not in its place"), "{told}");
}
