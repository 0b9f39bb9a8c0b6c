//! Mounted recovery points: what is in them is what was backed up, trouble touches only what it must, and no mount is left behind.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::fuse::{Mount, as_nobody, can_mount, detach, is_mounted};
use crate::mounted::names;
use crate::place::{CHUNK, Place, noise};

const POINT: &str = "2026-11-21T20:00:00Z";

/// A vault with two points of web01 and one of db01; gives their contents.
fn scene() -> (Place, Vec<u8>, Vec<u8>) {
    let place = Place::with_vault();
    let mut first = noise(1, 8 * CHUNK + 5 * 512);
    first[2 * CHUNK..5 * CHUNK + 4096].fill(0);
    let mut second = first.clone();
    second[0] ^= 1;
    fs::write(place.path("web01.xml"), "<domain/>").unwrap();
    let config = place.text_path("web01.xml");
    for (time, bytes) in [(POINT, &first), ("2026-11-22T20:00:00Z", &second)] {
        let disk = format!("vda={}", place.image("d.img", bytes));
        place.ok(&["backup", "web01", "--disk", &disk, "--time", time, "--config", &config]);
    }
    let other = format!("sda={}", place.image("o.img", &noise(3, CHUNK)));
    place.ok(&["backup", "db01", "--disk", &other, "--time", POINT]);
    (place, first, second)
}

#[test]
fn everything_is_in_its_place_and_as_it_was() {
    if !can_mount() {
        return;
    }
    let (place, first, second) = scene();
    let mount = Mount::start(&place, &["--all"]);
    assert_eq!(names(&mount.path("")), ["db01", "web01"]);
    assert_eq!(names(&mount.path("web01")), ["2026-11-21", POINT, "2026-11-22", "2026-11-22T20:00:00Z", "latest"]);
    assert_eq!(fs::read_link(mount.path("web01/latest")).unwrap().to_str(), Some("2026-11-22T20:00:00Z"));
    assert_eq!(fs::read_link(mount.path("web01/2026-11-21")).unwrap().to_str(), Some(POINT));
    assert_eq!(names(&mount.path("web01/latest")), ["disks", "files", "machine"]);
    assert_eq!(names(&mount.path("web01/latest/disks")), ["vda.map.json", "vda.raw"]);
    assert_eq!(names(&mount.path("web01/latest/machine")), ["manifest.json", "web01.xml"]);
    assert_eq!(fs::read_to_string(mount.path("web01/latest/machine/web01.xml")).unwrap(), "<domain/>");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(mount.path("web01/latest/machine/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["name"], "web01@2026-11-22T20:00:00Z");
    assert!(fs::read(mount.path("web01/latest/disks/vda.raw")).unwrap() == second);
    assert!(fs::read(mount.path(&format!("web01/{POINT}/disks/vda.raw"))).unwrap() == first);
    for absent in ["web01/2020-01-01", "nobody", "web01/latest/disks/vdb.raw"] {
        assert_eq!(fs::metadata(mount.path(absent)).unwrap_err().kind(), io::ErrorKind::NotFound, "{absent}");
    }
    let written = fs::write(mount.path("web01/latest/disks/vda.raw"), "x").unwrap_err();
    assert_eq!(written.kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(mount.end().0, Some(0));
}

#[test]
fn one_machine_or_one_point_is_shown_alone() {
    if !can_mount() {
        return;
    }
    let (place, ..) = scene();
    let machine = Mount::start(&place, &["web01"]);
    assert_eq!((names(&machine.path("")), names(&machine.path("web01")).len()), (vec!["web01".to_owned()], 5));
    machine.end();
    let point = Mount::start(&place, &[&format!("web01@{POINT}")]);
    assert_eq!(names(&point.path("web01")), ["2026-11-21", POINT, "latest"]);
}

#[test]
fn holes_are_holes_and_the_disk_is_no_larger_than_its_data() {
    if !can_mount() {
        return;
    }
    let (place, first, _) = scene();
    let mount = Mount::start(&place, &["web01"]);
    let path = mount.path(&format!("web01/{POINT}/disks/vda.raw"));
    let (hole, end) = (2 * CHUNK as u64, 5 * CHUNK as u64 + 4096);
    let known = fs::metadata(&path).unwrap();
    assert_eq!(known.size(), first.len() as u64);
    assert_eq!(known.blocks() * 512, (first.len() as u64).next_multiple_of(4096) - (end - hole));
    let file = File::open(&path).unwrap();
    let seek = |from| rustix::fs::seek(&file, from);
    assert_eq!(seek(rustix::fs::SeekFrom::Hole(0)), Ok(hole));
    assert_eq!(seek(rustix::fs::SeekFrom::Data(hole + 1)), Ok(end));
    assert_eq!(seek(rustix::fs::SeekFrom::Hole(end)), Ok(known.size()), "the end of a file counts as a hole");
    assert_eq!(seek(rustix::fs::SeekFrom::Data(known.size())), Err(rustix::io::Errno::NXIO));
    let map: serde_json::Value =
        serde_json::from_slice(&fs::read(path.with_file_name("vda.map.json")).unwrap()).expect("as qemu-img map writes it");
    let kinds: Vec<_> =
        map.as_array().unwrap().iter().map(|run| (run["start"].as_u64().unwrap(), run["data"].as_bool().unwrap())).collect();
    assert_eq!(kinds, [(0, true), (hole, false), (end, true)]);
}

#[test]
fn many_readers_at_once_read_the_same() {
    if !can_mount() {
        return;
    }
    let (place, _, second) = scene();
    let mount = Mount::start(&place, &["web01", "--cache", "1M"]);
    let path = mount.path("web01/latest/disks/vda.raw");
    std::thread::scope(|scope| {
        for seed in 0..8_usize {
            let (path, second) = (&path, &second);
            scope.spawn(move || {
                let mut file = File::open(path).unwrap();
                for step in 0..200 {
                    let length = 1 + (seed * 7919 + step * 104_729) % 70_000;
                    let at = (seed * 1_299_709 + step * 15_485_863) % (second.len() - length);
                    let mut found = vec![0; length];
                    file.seek(SeekFrom::Start(at as u64)).unwrap();
                    file.read_exact(&mut found).unwrap();
                    assert!(found == second[at..at + length], "{at}, {length}");
                }
            });
        }
    });
}

#[test]
fn what_cannot_be_mounted_is_said_with_a_cure() {
    if !can_mount() {
        return;
    }
    let (place, ..) = scene();
    let mount = |at: &str, what: &str| place.in_vault("", &["mount", &place.text_path(at), what]);
    mount("missing", "web01").failed(1, "make it first: mkdir -p");
    mount("d.img", "web01").failed(1, "is no directory");
    mount("vault", "web01").failed(1, "is not empty");
    fs::create_dir(place.path("empty")).unwrap();
    mount("empty", "nobody").failed(2, "no machine 'nobody'");
    mount("empty", "web01@2020-01-01").failed(1, "web01@2020-01-01");
    let first = Mount::start(&place, &["web01"]);
    mount("mnt", "web01").failed(1, "mounted on it already; end that with:");
    first.end();
}

#[test]
fn a_mount_whose_program_died_is_taken_away() {
    if !can_mount() {
        return;
    }
    let (place, _, second) = scene();
    let mut dead = Mount::start(&place, &["web01"]);
    dead.signal(Signal::KILL);
    dead.child.wait().unwrap();
    assert!(is_mounted(&dead.place), "the kernel has no reason to take it away");
    let mut again = Mount::start(&place, &["web01"]);
    // The dead mount counts as mounted too, so it is waited until the new one answers.
    let path = again.path("web01/latest/disks/vda.raw");
    let started = Instant::now();
    while fs::metadata(&path).is_err() && started.elapsed() < Duration::from_secs(60) {
        if again.child.try_wait().unwrap().is_some() {
            panic!("it ended: {}", again.end().1);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(fs::read(path).unwrap() == second);
    let (code, errors) = again.end();
    assert_eq!(code, Some(0));
    assert!(errors.contains("whose program had died"), "{errors}");
    std::mem::forget(dead);
}

/// The data packs of a vault, with their contents.
fn packs(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let directories = fs::read_dir(place.path("vault/packs")).unwrap().map(|entry| entry.unwrap().path());
    let files = directories.flat_map(|path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn damage_fails_only_the_range_that_it_touches_and_ends_when_it_is_mended() {
    if !can_mount() {
        return;
    }
    let (place, _, second) = scene();
    // The second point's pack has the one block that it changed.
    let smallest = packs(&place).into_iter().filter(|(_, bytes)| bytes.windows(64).any(|window| window == &second[..64]));
    let (pack, bytes) = smallest.min_by_key(|(_, bytes)| bytes.len()).expect("noise is stored as it is");
    let mut damaged = bytes.clone();
    let at = bytes.windows(64).position(|window| window == &second[..64]).unwrap();
    damaged[at] ^= 0xff;
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&pack, damaged).unwrap();
    let mount = Mount::start(&place, &["web01", "--cache", "1M"]);
    let file = File::open(mount.path("web01/latest/disks/vda.raw")).unwrap();
    let mut block = vec![0; 4096];
    // Without read-ahead, which may fail with its neighbours.
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random).unwrap();
    assert_eq!(file.read_at(&mut block, 0).unwrap_err().raw_os_error(), Some(5));
    file.read_exact_at(&mut block, CHUNK as u64).unwrap();
    assert!(block == second[CHUNK..CHUNK + 4096]);
    fs::write(&pack, &bytes).unwrap();
    file.read_exact_at(&mut block, 0).unwrap();
    assert!(block == second[..4096]);
    // A mount ends when the last file is closed.
    drop(file);
    let (_, errors) = mount.end();
    assert!(errors.contains("bytes 0 to 4096 of the disk"), "{errors}");
}

#[test]
fn a_vault_that_is_gone_is_an_error_until_it_is_back() {
    if !can_mount() {
        return;
    }
    let (place, _, second) = scene();
    let mount = Mount::start(&place, &["web01"]);
    let path = mount.path("web01/latest/disks/vda.raw");
    let file = File::open(&path).unwrap();
    fs::rename(place.path("vault"), place.path("away")).unwrap();
    let mut block = vec![0; 4096];
    assert_eq!(file.read_at(&mut block, 6 * CHUNK as u64).unwrap_err().raw_os_error(), Some(5));
    fs::rename(place.path("away"), place.path("vault")).unwrap();
    file.read_exact_at(&mut block, 6 * CHUNK as u64).unwrap();
    assert!(block == second[6 * CHUNK..6 * CHUNK + 4096]);
}

#[test]
fn a_signal_ends_it_and_who_reads_reads_on() {
    if !can_mount() {
        return;
    }
    let (place, _, second) = scene();
    let mut mount = Mount::start(&place, &["web01"]);
    let file = File::open(mount.path("web01/latest/disks/vda.raw")).unwrap();
    mount.signal(Signal::INT);
    let started = Instant::now();
    while is_mounted(&mount.place) {
        assert!(started.elapsed() < Duration::from_secs(60), "it stays mounted");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut block = vec![0; 4096];
    file.read_exact_at(&mut block, CHUNK as u64).unwrap();
    assert!(block == second[CHUNK..CHUNK + 4096]);
    drop(file);
    assert_eq!(mount.child.wait().unwrap().code(), Some(0));
}

#[test]
fn in_the_background_it_returns_when_it_is_mounted() {
    if !can_mount() {
        return;
    }
    let (place, _, second) = scene();
    let at = place.path("mnt");
    fs::create_dir(&at).unwrap();
    let log = place.text_path("log/mount.log");
    let ended = place.in_vault("", &["mount", at.to_str().unwrap(), "web01", "--background", "--log", &log]);
    assert_eq!((ended.code, ended.output.as_str()), (Some(0), ""), "{}", ended.errors);
    assert!(fs::read(at.join("web01/latest/disks/vda.raw")).unwrap() == second);
    detach(&at);
    assert!(!is_mounted(&at));
    assert!(fs::metadata(&log).is_ok());
    let again = place.in_vault("", &["mount", &place.text_path("missing"), "web01", "--background"]);
    again.failed(1, "mkdir -p");
}

#[test]
fn a_user_without_rights_mounts_for_himself_alone() {
    let (place, ..) = scene();
    let at = place.path("mnt");
    fs::create_dir(&at).unwrap();
    let Some(command) = as_nobody(&place, &[at.to_str().unwrap(), "web01"]) else { return };
    let mount = Mount::spawn(command, at.clone());
    let path = mount.path("web01/latest/disks/vda.raw");
    // Root is not the user who mounted it.
    assert_eq!(fs::metadata(&path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    let read = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "cmp"])
        .args([&path, &place.path("d.img")])
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_eq!(mount.end().0, Some(0));
    assert!(!is_mounted(&at), "a user takes away his own mount");
}

#[test]
fn others_may_look_in_only_where_the_system_allows_it() {
    let (place, ..) = scene();
    let at = place.path("mnt");
    fs::create_dir(&at).unwrap();
    let allowed = fs::read_to_string("/etc/fuse.conf").unwrap_or_default().lines().any(|line| line.trim() == "user_allow_other");
    let Some(mut command) = as_nobody(&place, &[at.to_str().unwrap(), "web01", "--allow-other"]) else { return };
    if allowed {
        return;
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("user_allow_other"), "{errors}");
    let root = Mount::start(&place, &["web01", "--allow-other"]);
    let seen =
        Command::new("setpriv").args(["--reuid=1234", "--regid=1234", "--clear-groups", "ls"]).arg(root.path("web01")).output().unwrap();
    // The directory above belongs to nobody else; what counts is that the mount itself lets others in.
    let inside = String::from_utf8_lossy(&seen.stdout).contains("latest");
    let outside = fs::metadata(place.path("")).unwrap().mode() & 0o005 == 0;
    assert!(inside || outside, "{}", String::from_utf8_lossy(&seen.stderr));
}
