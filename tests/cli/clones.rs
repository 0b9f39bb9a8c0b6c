//! `cairn backup --keep-clone`: what changed is found by the extents that an image still shares with its last clone.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::mounted::{Mounted, names};
use crate::place::{CHUNK, Place, noise};

/// Chunks of the image.
const CHUNKS: usize = 40;

/// Backs `image` up with a clone; must end well.
#[track_caller]
fn keep_clone(place: &Place, image: &str, more: &[&str]) -> Value {
    place.json(&[&["backup", "web01", "--disk", &format!("vda={image}"), "--keep-clone"], more].concat())
}

fn changes(told: &Value) -> &Value {
    &told["disks"][0]["changes"]
}

/// Writes at some bytes of an image, like a running machine.
fn write(image: &str, at: usize, bytes: &[u8]) {
    File::options().write(true).open(image).unwrap().write_all_at(bytes, at as u64).unwrap();
}

/// Checks that the latest point is exactly the image as it is now.
#[track_caller]
fn check_latest(place: &Place, image: &str) {
    let target = place.text_path("restored.raw");
    place.ok(&["restore", "web01@latest", "--disk", "vda", "--to", &target, "--overwrite"]);
    assert!(fs::read(target).unwrap() == fs::read(image).unwrap(), "the latest point is not the image");
}

/// The clone of the point in `told`, by its name; there must be no other file but the image.
#[track_caller]
fn only_clone(mounted: &Mounted, told: &Value) -> String {
    let names: Vec<String> = mounted.names().into_iter().filter(|name| name != "lost+found").collect();
    let (clones, images): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| name.starts_with('.'));
    assert_eq!((clones.len(), images), (1, vec!["web01.img".to_owned()]), "{clones:?}");
    assert!(clones[0].starts_with(".web01.img.cairn-") && clones[0].ends_with(told["id"].as_str().unwrap()), "{clones:?}");
    clones[0].clone()
}

/// A series of backups on a filesystem of one kind.
fn only_what_changed_is_read(kind: &str) {
    let Some(mounted) = Mounted::make(kind, 400) else { return };
    let place = Place::with_vault();
    let image = mounted.text_path("web01.img");
    fs::write(&image, noise(1, CHUNKS * CHUNK)).unwrap();
    let first = keep_clone(&place, &image, &[]);
    assert_eq!((changes(&first), &first["warnings"]), (&json!({ "how": "first" }), &json!([])));
    assert!(first["disks"][0]["source"].as_str().unwrap().starts_with(&image), "{first}");
    let clone = only_clone(&mounted, &first);
    assert_eq!(fs::metadata(mounted.path(&clone)).unwrap().permissions().mode() & 0o777, 0o600);

    // Written in place, over a border; a hole; growth. Nothing is synced: what is only in memory must count too.
    write(&image, 5 * CHUNK - 10, &[7; 20]);
    Command::new("fallocate").args(["-p", "-o", &(20 * CHUNK).to_string(), "-l", &CHUNK.to_string(), &image]).status().unwrap();
    write(&image, CHUNKS * CHUNK, &[9; 100]);
    let dry = keep_clone(&place, &image, &["--dry-run", "--verify-hints", "0"]);
    assert_eq!(only_clone(&mounted, &first), clone, "a dry run made or removed a clone");
    let second = keep_clone(&place, &image, &["--verify-hints", "0"]);
    let expected = json!({ "how": "hints", "origin": "extents shared with the copy of the last backup", "sampled_chunks": 0 });
    assert_eq!((changes(&second), changes(&dry)), (&expected, &expected));
    // A filesystem may have given neighbours of what was written a new place.
    let read = second["bytes_read"].as_u64().unwrap();
    assert!(read >= 2 * CHUNK as u64 + 100 && read <= 8 * CHUNK as u64, "{kind}: {read} bytes were read");
    assert_eq!(dry["bytes_read"].as_u64(), Some(read));
    only_clone(&mounted, &second);
    check_latest(&place, &image);

    // A point without a clone lies between: the clone is not that of the base, and is not used.
    write(&image, 30 * CHUNK, &[1; 5]);
    place.ok(&["backup", "web01", "--disk", &format!("vda={image}")]);
    write(&image, 31 * CHUNK, &[2; 5]);
    let fourth = keep_clone(&place, &image, &["--verify-hints", "0"]);
    assert_eq!(changes(&fourth), &json!({ "how": "scan" }));
    only_clone(&mounted, &fourth);
    check_latest(&place, &image);

    // Another disk of another machine, and another vault, have clones of their own.
    let clones = || mounted.names().iter().filter(|name| name.starts_with(".web01.img.cairn-")).count();
    place.ok(&["backup", "web02", "--disk", &format!("vda={image}"), "--keep-clone"]);
    keep_clone(&Place::with_vault(), &image, &[]);
    assert_eq!(clones(), 3);
    let unchanged = keep_clone(&place, &image, &["--verify-hints", "0"]);
    assert_eq!((changes(&unchanged)["how"].as_str(), unchanged["bytes_read"].as_u64(), clones()), (Some("hints"), Some(0), 3));
}

#[test]
fn only_what_changed_is_read_on_xfs() {
    only_what_changed_is_read("xfs");
}

#[test]
fn only_what_changed_is_read_on_btrfs() {
    only_what_changed_is_read("btrfs");
}

#[test]
fn a_clone_that_is_another_state_is_found_out() {
    let Some(mounted) = Mounted::make("xfs", 400) else { return };
    let place = Place::with_vault();
    let image = mounted.text_path("web01.img");
    fs::write(&image, noise(2, CHUNKS * CHUNK)).unwrap();
    let first = keep_clone(&place, &image, &[]);
    let clone = mounted.path(&only_clone(&mounted, &first));
    // Somebody takes the clone for his own and makes it a clone of a later state.
    write(&image, 0, &noise(3, CHUNKS * CHUNK));
    fs::remove_file(&clone).unwrap();
    assert!(Command::new("cp").args(["--reflink=always", &image, clone.to_str().unwrap()]).status().unwrap().success());
    let disk = format!("vda={image}");
    let ended = place.in_vault("", &["backup", "web01", "--disk", &disk, "--keep-clone", "--json"]);
    assert_eq!(ended.code, Some(3), "{}", ended.errors);
    assert!(ended.errors.contains("the hints are wrong"), "{}", ended.errors);
    let told: Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(changes(&told)["how"], "hints_refused");
    only_clone(&mounted, &told);
    check_latest(&place, &image);
}

#[test]
fn what_an_interrupted_backup_leaves_is_removed_by_the_next() {
    let Some(mounted) = Mounted::make("xfs", 400) else { return };
    let place = Place::with_vault();
    let image = mounted.text_path("web01.img");
    fs::write(&image, noise(4, CHUNKS * CHUNK)).unwrap();
    let first = keep_clone(&place, &image, &[]);
    let clone = only_clone(&mounted, &first);
    write(&image, 0, &noise(5, CHUNKS * CHUNK));

    // Killed as soon as its clone is there, before or while it reads.
    let arguments =
        ["--vault", &place.vault(), "backup", "web01", "--disk", &format!("vda={image}"), "--keep-clone", "--compression", "19"];
    let mut killed = Command::new(assert_cmd::cargo::cargo_bin("cairn"));
    killed.args(arguments).env_clear().env("HOME", place.path("")).envs(place.variables());
    killed.stdout(Stdio::null()).stderr(Stdio::null());
    let mut killed = killed.spawn().unwrap();
    let clones = || mounted.names().into_iter().filter(|name| name.starts_with(".web01.img.cairn-")).count();
    while clones() < 2 {
        assert_eq!(killed.try_wait().unwrap(), None, "the backup ended before it could be killed");
        std::thread::yield_now();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(clones(), 2, "the clone of the killed backup is gone");
    // What a kill inside of the making of a clone leaves.
    fs::write(mounted.path(&format!(".tmp-{clone}-0123456789abcdef")), b"half").unwrap();
    let strange = [".web01.img.cairn-notes".to_owned(), format!("{clone}.bak")];
    strange.iter().for_each(|name| fs::write(mounted.path(name), b"a user's").unwrap());

    // The base's clone is still there and tells all that changed.
    write(&image, 3 * CHUNK, &[3; 4096]);
    let second = keep_clone(&place, &image, &[]);
    assert_eq!(changes(&second)["how"], "hints", "{second}");
    check_latest(&place, &image);
    for name in strange {
        assert_eq!(fs::read(mounted.path(&name)).unwrap(), b"a user's", "{name} is nobody's clone");
        fs::remove_file(mounted.path(&name)).unwrap();
    }
    only_clone(&mounted, &second);
}

#[test]
fn a_failed_backup_leaves_no_clone_and_keeps_the_old_one() {
    let Some(mounted) = Mounted::make("xfs", 400) else { return };
    let place = Place::with_vault();
    let image = mounted.text_path("web01.img");
    fs::write(&image, noise(6, CHUNKS * CHUNK)).unwrap();
    let first = keep_clone(&place, &image, &["--time", "2026-11-20T20:00:00Z"]);
    let disk = format!("vda={image}");
    let again = ["backup", "web01", "--disk", &disk, "--keep-clone", "--time", "2026-11-20T20:00:00Z"];
    place.in_vault("", &again).failed(1, "has a recovery point of 2026-11-20T20:00:00Z already");
    only_clone(&mounted, &first);
}

/// Anybody may keep clones who may write beside the image.
#[test]
fn clones_need_no_root() {
    let Some(mounted) = Mounted::make("btrfs", 400) else { return };
    let place = Place::new();
    for directory in [place.path(""), mounted.path("")] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(mounted.path("").parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(mounted.path("own")).unwrap();
    let image = mounted.text_path("own/web01.img");
    fs::write(&image, noise(7, CHUNKS * CHUNK)).unwrap();
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    [mounted.path("own"), image.clone().into(), place.path("")].iter().for_each(|path| own(path));
    let run = |arguments: &[&str]| {
        let binary = place.path("cairn");
        if !binary.exists() {
            fs::copy(assert_cmd::cargo::cargo_bin("cairn"), &binary).unwrap();
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", binary.to_str().unwrap()]).args(arguments).env_clear();
        let output = command.env("HOME", place.path("")).env("CAIRN_VAULT", place.vault()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    run(&["init", "--encryption", "none"]);
    let backup = ["backup", "web01", "--disk", &format!("vda={image}"), "--keep-clone", "--json", "--verify-hints", "0"];
    run(&backup);
    write(&image, 8 * CHUNK, &[1; 10]);
    let told: Value = serde_json::from_slice(&run(&backup)).unwrap();
    assert_eq!(changes(&told)["how"], "hints", "{told}");
    assert_eq!(names(&mounted.path("own")).len(), 2);
}

#[test]
fn where_no_clone_can_be_the_whole_disk_is_read_and_it_is_said() {
    let place = Place::with_vault();
    let in_memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let image = in_memory.path().join("web01.img").to_str().unwrap().to_owned();
    fs::write(&image, noise(8, 4 * CHUNK)).unwrap();
    for how in ["first", "scan"] {
        let ended = place.in_vault("", &["backup", "web01", "--disk", &format!("vda={image}"), "--keep-clone", "--json"]);
        assert_eq!(ended.code, Some(3), "{}", ended.errors);
        assert!(ended.errors.contains("its filesystem does not share extents"), "{}", ended.errors);
        let told: Value = serde_json::from_str(&ended.output).unwrap();
        assert_eq!((changes(&told)["how"].as_str(), told["bytes_read"].as_u64()), (Some(how), Some(4 * CHUNK as u64)));
    }
    check_latest(&place, &image);
    assert_eq!(names(in_memory.path()), ["web01.img"]);
}
