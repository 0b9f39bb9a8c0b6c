//! Whole systems as their installers lay them out (`tools/mkguest system`): their trees of files come back out of a vault as they were.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::fuse::{Mount, can_mount};
use crate::guest::{Listed, check_same, listed, sh};
use crate::mounted::names;
use crate::place::{Ended, Place};

/// A system and a vault that has it.
struct System {
    place: Place,
    about: Value,
}

impl System {
    /// Makes one and backs it up; `None`, said loudly, where that cannot be done.
    fn make(kind: &str, options: &[&str]) -> Option<Self> {
        if !rustix::process::getuid().is_root() || !can_mount() {
            #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
            {
                eprintln!("SKIPPED: a whole system can be made by root only, with loop devices and FUSE");
            }
            return None;
        }
        let place = Place::with_vault();
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/mkguest");
        let folder = place.text_path("system");
        let made = Command::new(tool).args(["system", kind, &folder, "--seed", "5", "--data", "3M"]).args(options).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let about: Value = serde_json::from_slice(&fs::read(place.path("system/system.json")).unwrap()).unwrap();
        let system = Self { place, about };
        let disks: Vec<String> = system.strings("disks").iter().map(|(name, file)| system.argument(name, file)).collect();
        system.backup("guest", &disks);
        Some(system)
    }

    fn argument(&self, name: &str, file: &str) -> String {
        format!("{name}={}", self.place.text_path(&format!("system/{file}")))
    }

    fn backup(&self, machine: &str, disks: &[String]) {
        let disks = disks.iter().flat_map(|disk| ["--disk", disk]);
        self.place.ok(&["backup", machine].into_iter().chain(disks).collect::<Vec<_>>());
    }

    fn strings(&self, field: &str) -> Vec<(String, String)> {
        let object = self.about[field].as_object().unwrap();
        object.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
    }

    fn list(&self, field: &str) -> Vec<&str> {
        self.about[field].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
    }

    /// Runs a command with what opens the system's encrypted volumes.
    fn run(&self, arguments: &[&str]) -> Ended {
        let vault = self.place.vault();
        let mut environment = vec![("CAIRN_VAULT", vault.as_str())];
        environment.extend(self.about["passphrase"].as_str().map(|passphrase| ("CAIRN_GUEST_PASSPHRASE", passphrase)));
        self.place.run(&environment, &[arguments, &["--quiet"]].concat())
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!((ended.code, ended.errors.as_str()), (Some(0), ""), "{arguments:?}");
        ended.output
    }

    /// Compares a tree that came back with the one that was put in: all of it, or contents alone where the filesystem keeps no more.
    #[track_caller]
    fn check(&self, found: Listed, expected: &Listed) {
        let plain = self.list("contents_only");
        let tops = self.list("mounted");
        let reduced = |listed: &Listed| -> Listed {
            let kept = listed.iter().filter(|(path, _)| !tops.contains(&path.as_str()) && !path.starts_with(".snapshots/"));
            let is_plain = |path: &str| plain.iter().any(|top| top.is_empty() || path.starts_with(&format!("{top}/")));
            kept.map(|(path, what)| (path.clone(), if is_plain(path) { contents(what) } else { what.clone() })).collect()
        };
        check_same(&reduced(&found), &reduced(expected));
    }

    /// Copies each tree out, and walks each through a mount.
    fn check_all(&self) {
        let passphrase = self.about["passphrase"].as_str().map(|passphrase| self.place.image("passphrase", passphrase.as_bytes()));
        let options: Vec<&str> = passphrase.iter().flat_map(|file| ["--guest-passphrase-file", file]).collect();
        let mount = Mount::start(&self.place, &[&["guest"], options.as_slice()].concat());
        for (path, tree) in self.strings("trees") {
            let expected = listed(&self.place.path("system").join(tree));
            let out = self.place.path("out");
            self.ok(&["cp", "-a", &format!("guest@latest:{path}"), out.to_str().unwrap()]);
            self.check(listed(&out), &expected);
            sh("rm -rf \"$1\"", &[&out]);
            let below = if path == "/" { "root" } else { &path };
            self.check(listed(&mount.path("guest/latest").join(below)), &expected);
        }
        let (code, errors) = mount.end();
        assert!(code == Some(0) && !errors.contains("warning"), "{errors}");
    }
}

/// Kind, size and contents of a file.
fn contents(what: &str) -> String {
    let kind = what.split(' ').next().unwrap();
    let kind = &kind[..kind.len() - 4];
    match what.split_once(" bytes, ") {
        Some((before, after)) => {
            let size = before.rsplit(' ').next().unwrap();
            format!("{kind} {size} {}", after.split(' ').nth(2).unwrap())
        }
        None => kind.to_owned(),
    }
}

/// The rows of `cairn volumes` as name, way and filesystem.
fn volumes(system: &System, machine: &str) -> (Vec<[String; 3]>, Value) {
    let told: Value = serde_json::from_str(&system.ok(&["volumes", &format!("{machine}@latest"), "--json"])).unwrap();
    let text = |volume: &Value, field: &str| volume[field].as_str().unwrap_or("-").to_owned();
    let rows = told["volumes"].as_array().unwrap().iter();
    (rows.map(|volume| ["name", "found", "filesystem"].map(|field| text(volume, field))).collect(), told)
}

#[test]
fn debian_with_lvm_on_luks() {
    let Some(system) = System::make("debian", &[]) else { return };
    system.check_all();
    let (rows, told) = volumes(&system, "guest");
    let found = |filesystem: &str, words: &str| rows.iter().any(|[_, found, kind]| kind == filesystem && found.contains(words));
    assert!(found("ext4", "debian-vg") && found("swap", "debian-vg") && found("ext2", "vda"), "{told}");
    assert_eq!((&told["closed"], &told["root_notes"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    // Locked: what is not encrypted can be read, and what to do about the rest is said.
    let locked = system.place.in_vault("", &["volumes", "guest@latest"]);
    assert!(
        locked.code == Some(0) && locked.output.contains("is encrypted; give its passphrase or key file"),
        "{}{}",
        locked.output,
        locked.errors
    );
    let refused = system.place.in_vault("", &["ls", "guest@latest:/"]);
    refused.failed(1, "is encrypted; give its passphrase or key file");
    let wrong = system.place.image("wrong", b"no such passphrase\n");
    let refused = system.place.in_vault("", &["ls", "guest@latest:/", "--guest-passphrase-file", &wrong]);
    refused.failed(1, "none of the passphrases and key files that were given opens the LUKS2 volume");
    let told = system.place.json(&["volumes", "guest@latest", "--guest-passphrase-file", &wrong]);
    assert!(told["closed"].to_string().contains("none of the"), "{told}");
}

#[test]
fn lvm_over_two_disks_and_one_of_them_missing() {
    let Some(system) = System::make("redhat", &["--fs", "ext4"]) else { return };
    system.check_all();
    system.backup("half", &[system.argument("vda", "vda.raw")]);
    // The root lies on the first disk alone.
    let expected = fs::read_to_string(system.place.path("system/tree/etc/hostname")).unwrap();
    assert_eq!(system.run(&["cat", "half@latest:/etc/hostname"]).output, expected);
    let (_, told) = volumes(&system, "half");
    let said = told.to_string();
    assert!(said.contains("home") && said.contains("missing"), "{told}");
    let refused = system.run(&["ls", "half@latest:/home/anna"]);
    assert!(refused.code == Some(1) && !refused.errors.is_empty(), "{}", refused.errors);
}

#[test]
fn redhat_with_xfs_on_lvm() {
    let Some(system) = System::make("redhat", &["--fs", "xfs"]) else { return };
    let (rows, told) = volumes(&system, "guest");
    assert!(rows.iter().any(|[_, _, kind]| kind == "xfs"), "{told}");
    system.check_all();
}

#[test]
fn suse_with_subvolumes_and_snapshots() {
    let Some(system) = System::make("suse", &[]) else { return };
    system.check_all();
    let snapshot = system.place.path("snapshot");
    system.ok(&["cp", "-a", "guest@latest:/.snapshots/2/snapshot", snapshot.to_str().unwrap()]);
    let mut expected = listed(&system.place.path("system/tree"));
    expected.retain(|path, _| !path.starts_with("home/") && !path.starts_with("var/"));
    expected.remove(".snapshots");
    let mut found = listed(&snapshot);
    found.remove(".snapshots");
    system.check(found, &expected);
    // Below `files` every subvolume is in its place in the whole filesystem.
    assert_eq!(system.ok(&["ls", "guest@latest:files/SUSE/@/home"]), "anna/\n");
}

#[test]
fn an_array_of_two_disks_and_one_of_them_alone() {
    let Some(system) = System::make("raid", &[]) else { return };
    system.check_all();
    for disk in ["vda", "vdb"] {
        system.backup(disk, &[system.argument(disk, &format!("{disk}.raw"))]);
        let out = system.place.path("out");
        system.ok(&["cp", "-a", &format!("{disk}@latest:/"), out.to_str().unwrap()]);
        system.check(listed(&out), &listed(&system.place.path("system/tree")));
        sh("rm -rf \"$1\"", &[&out]);
        let (_, told) = volumes(&system, disk);
        assert!(told.to_string().contains("degraded"), "{told}");
    }
}

#[test]
fn windows_with_reserved_and_recovery_partitions() {
    let Some(system) = System::make("windows", &[]) else { return };
    system.check_all();
    let (rows, told) = volumes(&system, "guest");
    let kinds: Vec<_> = rows.iter().map(|[name, _, kind]| (name.as_str(), kind.as_str())).collect();
    assert_eq!(kinds, [("SYSTEM", "vfat"), ("-", "-"), ("Windows", "ntfs"), ("Recovery", "ntfs")], "{told}");
    let types: Vec<_> = told["volumes"].as_array().unwrap().iter().map(|volume| volume["partition_type"].as_str().unwrap()).collect();
    assert!(types[1].contains("reserved") && types[3].contains("recovery"), "{types:?}");
    system.run(&["ls", "guest@latest:/"]).failed(1, "name one: guest@");
    assert_eq!(system.ok(&["ls", "guest@latest:files/Windows/users/anna/documents"]), "Bericht Größe.docx\n", "case does not count");
    assert_eq!(names(&system.place.path("system/tree")), ["Recovery", "SYSTEM", "Windows"]);
}
