//! Snapshots that are read instead of the disks: by a command, and as reflink clones.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

use serde_json::json;

use super::{Bench, CAIRN};
use crate::mounted::Mounted;
use crate::place::{CHUNK, noise};

#[test]
fn a_command_makes_what_is_read_and_another_removes_it() {
    let bench = Bench::new();
    let log = bench.place.text_path("log");
    let take = bench.program("take", &format!("echo take \"$@\" >> {log}; [ -z \"$3\" ] || echo \"$3\""));
    let remove = bench.program("remove", &format!("echo remove \"$@\" >> {log}"));
    let snapshot = bench.place.image("snapshot", &vec![9; 2 << 20]);
    let remove = format!("{remove} {{disk}} {{id}} {{snapshot}}");
    let told = bench.told(0, &["--snapshot-command", &format!("{take} {{machine}} {{disk}} {snapshot}"), "--snapshot-remove", &remove]);
    // Nothing was at rest for it.
    assert_eq!((told["consistency"].as_str(), told["size_bytes"].as_u64()), (Some("crash"), Some(2 << 20)));
    assert_eq!(bench.log(), format!("take web01 vda {snapshot}\nremove vda {} {snapshot}\n", told["id"].as_str().unwrap()));
    let told = bench.told(0, &["--snapshot-command", &format!("{take} {{path}}"), "--consistency", "application"]);
    assert_eq!((told["consistency"].as_str(), told["size_bytes"].as_u64()), (Some("application"), Some(1 << 20)));
    assert!(bench.log().starts_with("take /"));
    bench.fails("printed no path", &["--snapshot-command", &take, "--snapshot-remove", &remove]);
    bench.log();
}

#[test]
fn a_snapshot_that_fails_makes_no_point_and_is_removed() {
    let bench = Bench::new();
    let log = bench.place.text_path("log");
    let remove = format!("{} {{id}}", bench.program("remove", &format!("echo removed >> {log}")));
    for (text, message) in [
        ("echo no space >&2; exit 5", "the command ended with code 5; it said: no space"),
        ("echo relative", "printed 'relative'"),
        ("echo /a; echo /b", "one absolute path"),
        ("echo /no/such/file", "/no/such/file"),
    ] {
        let take = bench.program("take", text);
        bench.fails(message, &["--snapshot-command", &take, "--snapshot-remove", &remove]);
        assert_eq!((bench.log().as_str(), bench.notes()), ("removed\n", 0), "{text}");
    }
    bench.fails("could not be started", &["--snapshot-command", "/no/such/program", "--snapshot-remove", &remove]);
    bench.log();
    // What cannot be removed is told of, by the next start too.
    let take = bench.program("take", &format!("echo {}", bench.place.image("s", &[1; 4096])));
    let fail = bench.program("fail", "exit 7");
    let ended = bench.backup(&["--snapshot-command", &take, "--snapshot-remove", &fail]);
    assert!(ended.code == Some(3) && ended.errors.contains("is not removed: the command ended with code 7"), "{}", ended.errors);
    assert!(bench.backup(&[]).errors.contains("ended with code 7") && bench.notes() == 1);
    bench.program("fail", "exit 0");
    assert_eq!((bench.backup(&[]).code, bench.notes(), bench.backup(&[]).code), (Some(0), 0, Some(0)));
}

#[test]
fn ctrl_c_in_a_snapshot_command_removes_the_snapshot() {
    let bench = Bench::new();
    let log = bench.place.text_path("log");
    let take = bench.program("take", &format!("{CAIRN}; kill -INT $CAIRN; sleep 1000"));
    let remove = format!("{} {{id}}", bench.program("remove", &format!("echo removed >> {log}")));
    let ended = bench.backup(&["--snapshot-command", &take, "--snapshot-remove", &remove]);
    assert_eq!((ended.code, bench.log().as_str(), bench.notes()), (Some(130), "removed\n", 0), "{}", ended.errors);
}

fn clones(mounted: &Mounted) -> usize {
    mounted.names().iter().filter(|name| name.contains(".cairn-")).count()
}

/// A disk with a filesystem in it, on one that shares extents: freeze, clone, thaw, read the clone.
#[test]
fn a_clone_is_taken_while_the_filesystem_in_the_image_is_frozen() {
    let Some(outer) = Mounted::make("xfs", 400) else { return };
    let mut bench = Bench::new();
    let image = outer.text_path("web01.img");
    let inner = bench.place.text_path("inner");
    fs::create_dir(&inner).unwrap();
    let script = format!("truncate -s 64M {image} && mkfs.ext4 -q {image} && mount -o loop {image} {inner}");
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    let _unmounted = Unmounted(inner.clone());
    fs::write(format!("{inner}/file"), "content").unwrap();
    bench.disk = format!("vda={image}");
    let outer_mount = outer.text_path("").trim_end_matches('/').to_owned();
    bench.fails("an image that is to be cloned", &["--snapshot", "clone", "--freeze", &outer_mount]);
    for way in [&["--snapshot", "clone"][..], &["--keep-clone"]] {
        let told = bench.told(0, &[&["--freeze", &inner], way].concat());
        assert_eq!((told["consistency"].as_str(), &told["quiesce"]["freeze"]["held"]), (Some("filesystem"), &json!(true)), "{told}");
        assert_eq!(clones(&outer), usize::from(way.len() == 1));
        let restored = bench.place.text_path("restored.img");
        bench.place.ok(&["restore", "web01@latest", "--disk", "vda", "--to", &restored, "--overwrite"]);
        assert!(Command::new("e2fsck").args(["-fn", &restored]).output().unwrap().status.success());
    }
}

/// A mount point that is none any more when this is dropped.
struct Unmounted(String);

impl Drop for Unmounted {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(&self.0).status().unwrap().success());
    }
}

#[test]
fn a_clone_that_a_kill_left_is_removed_by_the_next_backup() {
    let Some(mounted) = Mounted::make("xfs", 400) else { return };
    let mut bench = Bench::new();
    let image = mounted.text_path("web01.img");
    fs::write(&image, noise(1, 40 * CHUNK)).unwrap();
    bench.disk = format!("vda={image}");
    // The post-script comes when the clone is there.
    let file = bench.scripts("", &format!("{CAIRN}; kill -KILL $CAIRN; sleep 1000"), json!({ "timeoutInSeconds": 600 }));
    assert_eq!(bench.backup(&["--snapshot", "clone", "--scripts", &file]).code, None);
    assert_eq!((clones(&mounted), bench.notes()), (1, 1));
    bench.scripts("", "", json!({ "timeoutInSeconds": 60 }));
    bench.log();
    File::options().write(true).open(&image).unwrap().write_all_at(&[3; 10], 0).unwrap();
    assert_eq!(bench.backup(&["--snapshot", "clone"]).code, Some(3));
    assert_eq!((clones(&mounted), bench.notes(), bench.log().as_str()), (0, 0, "post\n"));
    let restored = bench.place.text_path("restored.img");
    bench.place.ok(&["restore", "web01@latest", "--disk", "vda", "--to", &restored]);
    assert!(fs::read(restored).unwrap() == fs::read(&image).unwrap());
}

#[test]
fn where_no_clone_can_be_taken_there_is_no_point() {
    let bench = Bench::new();
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let image = memory.path().join("disk.img");
    fs::write(&image, [1; 4096]).unwrap();
    let disk = format!("vda={}", image.display());
    let ended = bench.place.in_vault("", &["backup", "web01", "--disk", &disk, "--snapshot", "clone"]);
    ended.failed(1, "there is no snapshot of disk vda to read: its filesystem does not share extents");
    assert_eq!(fs::read_dir(memory.path()).unwrap().count(), 1);
}
