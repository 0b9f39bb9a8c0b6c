//! The files of a guest's filesystems, from a disk in a vault through every command that gives them: what comes back is what was put in.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::SeekFrom;
use serde_json::Value;

use crate::fuse::{Mount, as_nobody, can_mount, nobody};
use crate::guest::{Listed, check_same, listed, sh, with_guest};
use crate::mounted::names;

#[test]
fn directories_and_files_are_listed_told_and_read() {
    let (place, guest) = with_guest();
    assert_eq!(place.ok(&["ls", "web01@latest"]), "disks/\nfiles/\nmachine/\nroot/\n");
    assert_eq!(place.ok(&["ls", "web01@latest:files"]), "first/\nsame/\nsame-2/\n");
    let etc = place.ok(&["ls", "-l", "web01@latest:/etc"]);
    assert!(etc.contains("lrwxrwxrwx") && etc.contains("broken -> ../usr/none"), "{etc}");
    let many = place.json(&["ls", "web01@latest:/srv/many"]);
    assert_eq!(many.as_array().unwrap().len(), 300);
    // Its fstab puts the others into the first: by the name of a partition, and by the name of a device.
    assert_eq!(place.ok(&["cat", "web01@latest:/srv/data/sub/file"]), "deep");
    assert_eq!(place.ok(&["cat", "web01@latest:/srv/other/file"]), "other");
    assert_eq!(place.ok(&["cat", "web01@latest:files/same/file"]), "one");
    assert_eq!(place.ok(&["cat", "web01@latest:/home/anna/absolute"]), "guest\n", "a link begins at the guest's own root");
    let noise = place.command(&[("CAIRN_VAULT", &place.vault())], &["cat", "web01@latest:/var/lib/noise"]).output().unwrap();
    assert!(noise.stdout == fs::read(guest.tree("root/var/lib/noise")).unwrap());
    place.in_vault("", &["cat", "web01@latest:/etc"]).failed(1, "is no regular file");
    place.in_vault("", &["cat", "web01@latest:/etc/broken"]).failed(1, "does not exist");

    let told = place.json(&["stat", "web01@latest:/var/lib/sparse"]);
    assert_eq!((told["size_bytes"].as_u64(), told["kind"].as_str()), (Some(64 << 20), Some("file")), "{told}");
    assert!(told["allocated_bytes"].as_u64() < Some(1 << 20), "{told}");
    let told = place.json(&["stat", "web01@latest:/home/anna/deep/a/b/c/small"]);
    assert_eq!(told["modified"].as_str(), Some("2021-03-04T05:06:07Z"), "{told}");
    assert!(told.to_string().contains("user.note"), "{told}");
}

#[test]
fn files_are_found_by_all_that_is_known_of_them() {
    let (place, _guest) = with_guest();
    let found = |tests: &[&str]| place.ok(&[&["find", "web01@latest:/"], tests].concat());
    assert_eq!(found(&["--name", "hostname*"]), "/etc/hostname\n/etc/hostname.hard\n");
    assert_eq!(found(&["--kind", "f", "--size", "+1M"]), "/var/lib/noise\n/var/lib/sparse\n/var/lib/text\n");
    assert_eq!(found(&["--kind", "p"]), "/var/lib/pipe\n");
    assert_eq!(found(&["--path", "*/many/*-29?"]).lines().count(), 10);
    assert_eq!(found(&["--name", "file"]), "/srv/data/file\n/srv/data/sub/file\n/srv/other/file\n");
    assert_eq!(found(&["--name", "fstab", "--newer", "2021-03-05"]), "");
    assert_eq!(found(&["--name", "fstab", "--older", "2021-03-05", "--newer", "2021-03-04"]), "/etc/fstab\n");
    // Names as they are, for programs.
    let all = place.command(&[("CAIRN_VAULT", &place.vault())], &["find", "web01@latest:/", "--print0"]).output().unwrap();
    assert_eq!(all.stdout.split(|&byte| byte == 0).filter(|path| path.starts_with(b"/srv/many/")).count(), 300);
}

#[test]
fn volumes_are_told_with_where_they_are() {
    let (place, _guest) = with_guest();
    let table = place.ok(&["volumes", "web01@latest"]);
    for words in [&["first", "ext4", "64.0 MiB", "11111111-2222-3333-4444-555555555501"][..], &["same", "ext4", "16.0 MiB"], &["same-2"]] {
        assert!(table.lines().any(|line| words.iter().all(|word| line.contains(word))), "{words:?}: {table}");
    }
    let told = place.json(&["volumes", "web01@latest"]);
    let volumes = told["volumes"].as_array().unwrap();
    let text = |number: usize, field: &str| volumes[number][field].as_str().unwrap_or("-").to_owned();
    let known = |number: usize| ["name", "disk", "partition_name", "filesystem", "label"].map(|field| text(number, field));
    assert_eq!(known(0), ["first", "sda", "system", "ext4", "first"]);
    assert_eq!(known(1), ["same", "sda", "first data", "ext4", "same"]);
    assert_eq!(known(2), ["same-2", "sda", "-", "ext4", "same"]);
    assert_eq!((volumes[2]["partition"].as_u64(), volumes[0]["size_bytes"].as_u64()), (Some(3), Some(64 << 20)));
    assert!(volumes[0]["used_bytes"].as_u64() > Some(1 << 20), "{told}");
    assert_eq!((&told["closed"], &told["root_notes"]), (&Value::Array(vec![]), &Value::Array(vec![])));
}

#[test]
fn a_copy_of_everything_is_the_tree_that_was_put_in() {
    let (place, guest) = with_guest();
    let told = place.json(&["cp", "-a", "web01@latest:/", &place.text_path("out")]);
    check_same(&whole_of(&place.path("out")), &guest.whole());
    assert_eq!((told["hard_links"].as_u64(), told["warning_count"].as_u64()), (Some(1), Some(0)), "{told}");
    assert_eq!(told["not_kept"], Value::Array(vec![]), "{told}");
    let sparse = fs::metadata(place.path("out/var/lib/sparse")).unwrap();
    assert!(sparse.blocks() * 512 < 1 << 20, "{} blocks", sparse.blocks());
    // One file, and without -a: contents and mode.
    place.ok(&["cp", "web01@latest:/var/lib/text", &place.text_path("text")]);
    assert!(fs::read(place.path("text")).unwrap() == fs::read(guest.tree("root/var/lib/text")).unwrap());
    assert_eq!(fs::metadata(place.path("text")).unwrap().mode() & 0o7777, 0o755, "setuid is given with -a only");
}

/// A tree that came back, without what filesystems have at their tops.
fn whole_of(top: &Path) -> Listed {
    let mut all = listed(top);
    all.retain(|path, _| path != "srv/data" && path != "srv/other");
    all
}

#[test]
fn an_archive_through_a_pipe_is_the_tree_that_was_put_in() {
    let (place, guest) = with_guest();
    for options in [&[][..], &["--zstd"], &["--gzip"]] {
        let out = place.path("out");
        fs::create_dir(&out).unwrap();
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("cairn"));
        let mut packing = place.environment(&mut command).args(["tar", "web01@latest:/"]).args(options).spawn().unwrap();
        let mut tar = Command::new("tar");
        tar.args(["-x", "-p", "--same-owner", "--xattrs", "--xattrs-include=*", "--acls", "-f", "-"]);
        let filter = options.first().copied().into_iter();
        let unpacked = tar.args(filter).arg("-C").arg(&out).stdin(packing.stdout.take().unwrap()).output().unwrap();
        assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
        assert!(packing.wait().unwrap().success());
        check_same(&whole_of(&out), &guest.whole());
        assert!(fs::metadata(out.join("var/lib/sparse")).unwrap().blocks() * 512 < 1 << 20);
        sh("rm -rf \"$1\"", &[&out]);
    }
}

#[test]
fn a_zip_archive_has_the_files() {
    let (place, guest) = with_guest();
    let archive = place.text_path("home.zip");
    place.ok(&["tar", "web01@latest:/var", "web01@latest:/srv/many", "-o", &archive, "--format", "zip"]);
    sh("mkdir \"$2\" && cd \"$2\" && unzip -q \"$1\"", &[Path::new(&archive), &place.path("out")]);
    for (name, from) in [("var", "root/var"), ("many", "root/srv/many")] {
        let files = |top: &Path| -> Vec<(String, String)> {
            // Contents and sizes; a zip archive knows no device, and no owner that unzip would set.
            let hash = |what: &String| what.rsplit(" names, ").next().unwrap().split(' ').next().unwrap().to_owned();
            listed(top).iter().filter(|(_, what)| what.contains(" bytes, ")).map(|(path, what)| (path.clone(), hash(what))).collect()
        };
        assert_eq!(files(&place.path("out").join(name)), files(&guest.tree(from)), "{name}");
    }
}

#[test]
fn versions_tell_in_which_points_a_file_changed() {
    let (place, guest) = with_guest();
    let write = |name: &str, bytes: &str| {
        fs::write(place.path("new"), bytes).unwrap();
        let script = format!("debugfs -w -f /dev/stdin \"$1?offset=1048576\" <<END\nrm {name}\nwrite $2 {name}\nEND\n");
        sh(&script, &[&guest.image, &place.path("new")]);
    };
    let backup = |time: &str| place.ok(&["backup", "web01", "--disk", &guest.disk(), "--time", time]);
    backup("2026-11-22T20:00:00Z");
    write("/etc/hostname", "changed\n");
    backup("2026-11-23T20:00:00Z");
    sh("debugfs -w -R 'rm /etc/hostname' \"$1?offset=1048576\"", &[&guest.image]);
    backup("2026-11-24T20:00:00Z");
    let told = place.json(&["versions", "web01", "/etc/hostname"]);
    let states: Vec<_> = told.as_array().unwrap().iter().map(|version| version["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["new", "same", "changed", "missing"]);
    let table = place.ok(&["versions", "web01", "/etc/hostname", "--changes"]);
    assert!(table.contains("web01@2026-11-23T20:00:00Z") && !table.contains("2026-11-22T20:00:00Z"), "{table}");
    assert_eq!(place.ok(&["cat", "web01@2026-11-22:/etc/hostname"]), "guest\n");
    assert_eq!(place.ok(&["cat", "web01@2026-11-23:/etc/hostname"]), "changed\n");
}

#[test]
fn a_mount_has_the_tree_the_volumes_and_the_disk() {
    if !can_mount() {
        return;
    }
    let (place, guest) = with_guest();
    let mount = Mount::start(&place, &["web01"]);
    let point = mount.path("web01/latest");
    assert_eq!(names(&point), ["disks", "files", "machine", "root"]);
    assert_eq!(names(&point.join("files")), ["first", "same", "same-2"]);
    check_same(&whole_of(&point.join("root")), &guest.whole());
    check_same(&listed(&point.join("files/same")), &listed(&guest.tree("data")));
    let known = fs::metadata(point.join("root/var/lib/sparse")).unwrap();
    assert!(known.blocks() * 512 < 1 << 20, "{} blocks", known.blocks());
    let file = File::open(point.join("root/var/lib/sparse")).unwrap();
    assert_eq!(rustix::fs::seek(&file, SeekFrom::Data(0)), Ok(32 << 20));
    drop(file);
    let disk = point.join("disks/sda.raw");
    assert!(fs::read(&disk).unwrap() == fs::read(&guest.image).unwrap());
    // Holes are where the disk has zeros, to the block.
    let bytes = fs::read(&guest.image).unwrap();
    let has_data: Vec<bool> = bytes.chunks(4096).map(|block| block.iter().any(|&byte| byte != 0)).collect();
    let stored = has_data.iter().filter(|&&data| data).count() as u64 * 4096;
    assert_eq!(fs::metadata(&disk).unwrap().blocks() * 512, stored);
    assert_eq!(data_blocks(&File::open(&disk).unwrap(), has_data.len()), has_data);
    // Device nodes and setuid are shown and have no effect.
    if rustix::process::getuid().is_root() {
        assert!(File::open(point.join("root/var/lib/null")).is_err());
        let options = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = options.lines().find(|line| line.contains(mount.place.to_str().unwrap())).unwrap();
        assert!(["ro", "nosuid", "nodev"].iter().all(|option| line.contains(option)), "{line}");
    }
    assert_eq!(mount.end().0, Some(0));
}

/// Which blocks of 4 KiB a file says have data.
fn data_blocks(file: &File, count: usize) -> Vec<bool> {
    let mut blocks = vec![false; count];
    let mut at = 0;
    while let Ok(data) = rustix::fs::seek(file, SeekFrom::Data(at)) {
        at = rustix::fs::seek(file, SeekFrom::Hole(data)).unwrap();
        blocks[usize::try_from(data / 4096).unwrap()..usize::try_from(at / 4096).unwrap()].fill(true);
    }
    blocks
}

/// What `docs/file-recovery.md` promises of who may read.
#[test]
fn a_user_without_rights_sees_files_of_every_owner() {
    let (place, guest) = with_guest();
    let expected = guest.whole();
    let at = place.path("mnt");
    fs::create_dir(&at).unwrap();
    let Some(command) = as_nobody(&place, &[at.to_str().unwrap(), "web01"]) else { return };
    let mount = Mount::spawn(command, at);
    let root = mount.path("web01/latest/root");
    let root = root.to_str().unwrap();
    let output = |words: &[&str]| {
        let output = nobody(&place, words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    // All are listed with their owners, also below directories that are others' alone.
    let found = output(&["find", root, "-mindepth", "1", "-printf", "%P\\0%U:%G\\0"]);
    let fields: Vec<_> = found.split(|&byte| byte == 0).map(|field| field.escape_ascii().to_string()).collect();
    let seen: Listed = fields.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    for (path, what) in &expected {
        assert_eq!(seen.get(path).map(String::as_str), what.split(' ').nth(1), "{path}");
    }
    // And read: one of root's with mode 600, one of another user's with mode 000.
    for path in ["var/lib/noise", "home/anna/deep/a/b/c/small"] {
        let read = output(&["cat", &format!("{root}/{path}")]);
        assert!(read == fs::read(guest.tree("root").join(path)).unwrap(), "{path}");
    }
    // Nobody else looks in, not even root.
    assert!(fs::read_dir(root).is_err());
    assert_eq!(mount.end().0, Some(0));
}

/// The same with `--allow-other`: then the guest's owners and modes hold.
#[test]
fn others_are_held_to_the_owners_and_modes_of_the_guest() {
    let (place, guest) = with_guest();
    if !rustix::process::getuid().is_root() || !can_mount() {
        return;
    }
    sh("chmod 755 \"$1\"", &[&place.path("")]);
    let mount = Mount::start(&place, &["web01", "--allow-other"]);
    let root = mount.path("web01/latest/root");
    let read = |path: &str| nobody(&place, &["cat", root.join(path).to_str().unwrap()]).output().unwrap();
    let text = read("var/lib/text");
    assert!(text.status.success() && text.stdout == fs::read(guest.tree("root/var/lib/text")).unwrap());
    for path in ["var/lib/noise", "home/anna/deep/a/b/c/small"] {
        let denied = read(path);
        assert!(!denied.status.success() && denied.stdout.is_empty(), "{path} was given");
        assert!(String::from_utf8_lossy(&denied.stderr).contains("Permission denied"), "{path}");
        // Root on the host is root in the mount.
        assert!(fs::read(root.join(path)).unwrap() == fs::read(guest.tree("root").join(path)).unwrap(), "{path}");
    }
}

#[test]
fn no_name_acts_on_a_terminal_and_every_name_can_be_typed() {
    let (place, guest) = with_guest();
    let acts = |text: &str| text.chars().any(|letter| letter.is_control() && letter != '\n' || letter == '\u{202e}');
    let names: Vec<Vec<u8>> =
        fs::read_dir(guest.tree("root/srv/names")).unwrap().map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect();
    assert_eq!(names.len(), 11);
    for arguments in [
        &["ls", "web01@latest:/srv/names"][..],
        &["ls", "-l", "web01@latest:/srv/names"],
        &["find", "web01@latest:/srv/names"],
        &["find", "-l", "web01@latest:/srv/names"],
        &["ls", "web01@latest:/srv/names", "--json"],
        &["find", "web01@latest:/srv/names", "--json"],
        &["volumes", "web01@latest"],
        &["cp", "-r", "web01@latest:/srv/names", &place.text_path("out")],
        &["cp", "-r", "web01@latest:/srv/names", &place.text_path("out")],
    ] {
        let ended = place.in_vault("", arguments);
        assert!(!acts(&ended.output) && !acts(&ended.errors), "{arguments:?}: {:?}{:?}", ended.output, ended.errors);
    }
    let listed = place.ok(&["ls", "web01@latest:/srv/names"]);
    assert_eq!(listed.lines().count(), names.len(), "one line a name: {listed}");
    assert!(listed.contains("esc-\\u{1b}[2J") && listed.contains("new\\nline") && listed.contains("bad-\\xff\\xfe"), "{listed}");
    for name in names.iter().filter(|name| name.as_slice() != b"link") {
        let location = [b"web01@latest:/srv/names/", name.as_slice()].concat();
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("cairn"));
        let command = place.environment(&mut command).arg("cat").arg(std::ffi::OsStr::from_bytes(&location));
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.stdout.escape_ascii().to_string(), name.escape_ascii().to_string());
        let stat = place
            .environment(&mut Command::new(assert_cmd::cargo::cargo_bin("cairn")))
            .arg("stat")
            .arg(std::ffi::OsStr::from_bytes(&location))
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&stat.stdout).into_owned();
        assert!(stat.status.success() && !acts(&shown), "{shown:?}");
    }
    // What cannot be found is told as harmlessly.
    let missing = place.in_vault("", &["cat", "web01@latest:/srv/names/esc-\u{1b}[2J\n\u{202e}"]);
    assert!(missing.code == Some(1) && !acts(&missing.errors), "{:?}", missing.errors);
}
