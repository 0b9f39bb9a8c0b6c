//! A guest's disk, made by the tools of its own system without a mount, and trees of files compared.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::{Place, noise};

/// What a tree has: paths below its top, and what each of them is.
pub(crate) type Listed = BTreeMap<String, String>;

/// Makes the trees of three filesystems below the directory. Root gives some files to other users; others cannot, and then all are theirs.
const TREES: &str = r#"
set -e
cd "$1"
mkdir -p root/etc root/home/anna/deep/a/b/c root/srv/names root/srv/data root/srv/other root/srv/many root/var/lib data/sub other
printf '%s\n' 'UUID=11111111-2222-3333-4444-555555555501 / ext4 errors=remount-ro 0 1' \
  'PARTLABEL=first\040data /srv/data ext4 defaults 0 2' '/dev/sda3 /srv/other ext4 defaults 0 2' >root/etc/fstab
printf 'guest\n' >root/etc/hostname
ln root/etc/hostname root/etc/hostname.hard
ln -s ../usr/none root/etc/broken
ln -s /etc/hostname root/home/anna/absolute
ln -s "$(printf 'x%.0s' $(seq 300))" root/home/anna/long-link
head -c 3000 noise >root/home/anna/deep/a/b/c/small
mv noise root/var/lib/noise
seq 200000 >root/var/lib/text
: >root/var/lib/empty
truncate -s 64M root/var/lib/sparse
printf 'island' | dd of=root/var/lib/sparse bs=1 seek=33554432 conv=notrunc status=none
for number in $(seq 300); do printf '%s' "$number" >"root/srv/many/a-name-of-some-length-$number"; done
mkfifo root/var/lib/pipe
cd root/srv/names
for name in "$(printf 'esc-\033[2J\033]0;owned\007')" "$(printf 'new\nline')" "$(printf 'bad-\377\376')" "$(printf '\342\200\256gpj.exe')" \
  "$(printf 'tab\tname')" '-rf' 'a b' '*' "$(printf 'n%.0s' $(seq 255))" "$(printf 'c1-\302\2331m')"; do
  printf '%s' "$name" >"./$name"
done
ln -s "$(printf 'to\033[2J')" link
cd ../../..
printf 'one' >data/file; printf 'deep' >data/sub/file; printf 'other' >other/file
setfattr -n user.note -v 'a value' root/home/anna/deep/a/b/c/small
setfacl -m u:1234:r root/etc/hostname
chmod 4755 root/var/lib/text; chmod 600 root/var/lib/noise; chmod 000 root/home/anna/deep/a/b/c/small; chmod 1777 root/srv/many
if [ "$(id -u)" = 0 ]; then
  chown -R 1000:1000 root/home/anna; chown 4242:70000 root/var/lib/text; chmod 4755 root/var/lib/text; chmod 700 root/home/anna
  mknod root/var/lib/null c 1 3; mknod root/var/lib/disk b 259 70000
  setfattr -n security.capability -v 0sAQAAAgAgAAAAAAAAAAAAAAAAAAA= root/etc/fstab
fi
find root data other -depth -exec touch -h -d '2021-03-04 05:06:07 UTC' {} +
"#;

/// Where the filesystems begin, in KiB, and how long they are.
const PARTS: [(&str, &str, u64, u64); 3] =
    [("root", "first", 1024, 65536), ("data", "same", 66560, 16384), ("other", "same", 82944, 16384)];

/// A disk with a GPT and three ext4, of which two have one label, and the trees that are in them.
pub(crate) struct Guest {
    /// The disk's image.
    pub(crate) image: PathBuf,
    trees: PathBuf,
}

impl Guest {
    /// Makes it in a place.
    pub(crate) fn make(place: &Place) -> Self {
        let guest = Self { image: place.path("guest.img"), trees: place.path("trees") };
        fs::create_dir(&guest.trees).unwrap();
        fs::write(guest.trees.join("noise"), noise(7, 4 << 20)).unwrap();
        sh(TREES, &[&guest.trees]);
        File::create(&guest.image).unwrap().set_len(100 << 20).unwrap();
        let table = r#"printf '%s\n' 'label: gpt' 'start=2048, size=131072, name="system"' 'start=133120, size=32768, name="first data"' 'start=165888, size=32768' |
            sfdisk -q "$1""#;
        sh(table, &[&guest.image]);
        for (number, (name, label, start, length)) in (1..).zip(PARTS) {
            let make = format!(
                "mkfs.ext4 -q -F -b 4096 -L {label} -U 11111111-2222-3333-4444-5555555555{number:02} -E offset={} -d \"$1\" \"$2\" {length}k",
                start << 10
            );
            sh(&make, &[&guest.tree(name), &guest.image]);
        }
        guest
    }

    /// The tree that one of its filesystems was made of.
    pub(crate) fn tree(&self, name: &str) -> PathBuf {
        self.trees.join(name)
    }

    /// What its own system would show: all three put together by its fstab.
    pub(crate) fn whole(&self) -> Listed {
        let mut all = listed(&self.tree("root"));
        for (name, path) in [("data", "srv/data"), ("other", "srv/other")] {
            // Filesystems have other times and owners at their tops than the directories that they were made of.
            all.remove(path);
            all.extend(listed(&self.tree(name)).into_iter().map(|(below, what)| (format!("{path}/{below}"), what)));
        }
        all
    }

    /// The disk argument of `cairn backup`.
    pub(crate) fn disk(&self) -> String {
        format!("sda={}", self.image.display())
    }
}

/// A vault with one point of a guest.
pub(crate) fn with_guest() -> (Place, Guest) {
    let place = Place::with_vault();
    let guest = Guest::make(&place);
    place.ok(&["backup", "web01", "--disk", &guest.disk(), "--time", "2026-11-21T20:00:00Z"]);
    (place, guest)
}

/// Runs a script of the shell; it must end well.
#[track_caller]
pub(crate) fn sh(script: &str, arguments: &[&Path]) -> Vec<u8> {
    let mut command = Command::new("sh");
    // Their tools lie where an ordinary user's PATH does not lead.
    let path = format!("{}:/usr/local/sbin:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = command.args(["-c", script, "sh"]).args(arguments).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Everything below a directory, but what a filesystem makes for itself.
pub(crate) fn listed(top: &Path) -> Listed {
    let mut all = Listed::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        let entries = fs::read_dir(top.join(&directory)).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for entry in entries {
            let below = directory.join(entry.unwrap().file_name());
            if below.as_os_str() == "lost+found" || below.ends_with("lost+found") {
                continue;
            }
            let (what, is_directory) = described(&top.join(&below));
            all.insert(below.as_os_str().as_bytes().escape_ascii().to_string(), what);
            if is_directory {
                waiting.push(below);
            }
        }
    }
    all
}

/// All that is to come back of a file: kind, mode, owner, time, size or device, names, contents or target, attributes.
fn described(path: &Path) -> (String, bool) {
    let known = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let kind = known.file_type();
    let mut what = format!("{:o} {}:{} {}", known.mode(), known.uid(), known.gid(), known.mtime());
    if kind.is_symlink() {
        what += &format!(" -> {}", fs::read_link(path).unwrap().as_os_str().as_bytes().escape_ascii());
        return (what, false);
    }
    if kind.is_char_device() || kind.is_block_device() {
        what += &format!(" device {}", known.rdev());
    }
    if kind.is_file() {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        what += &format!(" {} bytes, {} names, {}", known.size(), known.nlink(), hasher.finalize().to_hex());
    }
    for (name, value) in attributes(path) {
        what += &format!(" {name}={}", value.escape_ascii());
    }
    (what, kind.is_dir())
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found = BTreeMap::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = OsString::from_vec(name.to_vec());
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, &name, &mut value).unwrap();
        value.truncate(length);
        found.insert(name.to_string_lossy().into_owned(), value);
    }
    found
}

/// Compares two trees, and names the first difference.
#[track_caller]
pub(crate) fn check_same(found: &Listed, expected: &Listed) {
    for (path, what) in expected {
        assert_eq!(found.get(path), Some(what), "{path}");
    }
    let more: Vec<_> = found.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(more.is_empty(), "they should not be there: {more:?}");
    assert!(expected.len() > 1, "there is nothing to compare");
}
