"""Whole systems, each with the disks that its installer would have made, and beside them the tree of files that they hold.

  debian   GPT: EFI, /boot on ext2, LUKS2 with an LVM group for root, swap and /home (ext4)
  redhat   two disks: EFI, /boot, and an LVM group over both for root and /home (XFS)
  suse     btrfs with subvolumes for root, /home, /var and snapshots of the root
  raid     two disks, each with a member of an md raid1 (metadata 1.2) with ext4
  windows  EFI, MSR, C: and a recovery partition (NTFS)

Files, UUIDs and layout are the same for the same seed; keys, salts and times of the filesystems themselves are not.
There is no device-mapper and no md driver in use: LVM's tools work on loop devices and get their logical volumes as text,
cryptsetup encrypts a file in place, the superblock of an array is written here. Needs root, for owners and for mounts.
"""

import json
import os
import shutil
import tempfile
import uuid

from . import content, disk, lvm, raid, tree
from .disk import MIB, SECTOR, Part
from .run import Failure, need, run, say

PASSPHRASE = "correct horse battery staple"
_TYPES = {
    "efi": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "linux": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "lvm": "E6D6D379-F507-44C2-A23C-238F2A3DF928", "raid": "A19D880F-05FC-4D3B-A006-743F0F84911E",
    "luks": "CA7D7CCB-63ED-4C53-861C-1742536059CC", "msr": "E3C9E316-0B5C-4DB8-817D-F92DF00215AE",
    "data": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "recovery": "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC",
}


class Work:
    """A system under construction."""

    def __init__(self, folder, seed, data, fs):
        self.folder, self.seed, self.fs = folder, seed, fs
        self.tree, self.disks = f"{folder}/tree", {}
        self.scratch = tempfile.mkdtemp(prefix=".work-", dir=folder)
        os.mkdir(self.tree)
        # Paths whose attributes a filesystem does not keep, tops of filesystems, and the paths that each tree is found at.
        self.about = {"passphrase": None, "contents_only": [], "mounted": [], "trees": {"/": "tree"}}
        if data:
            # The same on every machine, so no files of the host.
            tree.fill(self.tree, seed, data, real=False)
            self._people()

    def _people(self):
        """What a tree that one user made for a disk lacks: other owners, attributes, special files."""
        for number in range(300):
            path = f"etc/service-{number % 20:02}/option-{number:03}.conf"
            self.write(path, content.note(content.stream(self.seed, path), path))
        home = f"{self.tree}/home/anna"
        for path in ("deep/er/still", "Documents"):
            os.makedirs(f"{home}/{path}")
        self.write("home/anna/.profile", "umask 027\n")
        self.write("home/anna/Documents/Größe und Maß.txt", "ü\n" * 500)
        self.write("home/anna/deep/er/still/big", content.stream(self.seed, "big").randbytes(300_000))
        os.symlink("/etc/hostname", f"{home}/absolute")
        os.mkfifo(f"{home}/pipe")
        for folder, folders, names in os.walk(home):
            for name in ["."] + names + folders:
                os.lchown(os.path.join(folder, name), 1000, 1000)
        os.chmod(home, 0o700)
        os.chmod(f"{home}/deep", 0o2750)
        os.setxattr(f"{home}/.profile", "user.note", b"kept")
        self.write("usr/bin/su-like", "#!/bin/sh\n")
        os.chmod(f"{self.tree}/usr/bin/su-like", 0o4755)
        os.mknod(f"{self.tree}/dev/null", 0o20666, os.makedev(1, 3))

    def write(self, path, text):
        target = f"{self.tree}/{path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as out:
            out.write(text if isinstance(text, bytes) else text.encode())

    def boot(self, distribution):
        """Kernel and loader; firmware reads the latter."""
        source = content.stream(self.seed, "kernel")
        self.write("boot/vmlinuz", source.randbytes(700_000))
        self.write("boot/grub/grub.cfg", "set default=0\n" * 40)
        self.write(f"boot/efi/EFI/{distribution}/grubx64.efi", source.randbytes(200_000))
        self.write("boot/efi/EFI/BOOT/BOOTX64.EFI", source.randbytes(100_000))
        self.about["contents_only"].append("boot/efi")

    def settle(self):
        """Gives everything its time; nothing is written to the tree after it."""
        for folder, folders, names in os.walk(self.tree, topdown=False):
            for name in names + folders:
                path = os.path.join(folder, name)
                tree.set_times(path, content.file_time(self.seed, os.path.relpath(path, self.tree)))

    def id(self, what):
        """The UUID of a filesystem that the makers of `disk` make for `what`."""
        return disk.identity(f"{self.seed}/{what}", "root fs")

    def part(self, what):
        return f"{self.scratch}/{what}"

    def disk(self, name, parts):
        """A disk with a GPT: (type, name, MiB, file or None) each; the bytes of the files go into it."""
        image, at, lines, placed = f"{self.folder}/{name}.raw", MIB, [], []
        for number, (kind, label, mib, source) in enumerate(parts):
            lines.append(f"start={at // SECTOR}, size={mib * MIB // SECTOR}, type={_TYPES[kind]}, "
                         f"uuid={disk.identity(self.seed, f'{name} {number}')}, name=\"{label}\"")
            placed.append((Part(label, at, mib * MIB), source))
            at += mib * MIB
        with open(image, "wb") as out:
            out.truncate(at + MIB)
        head = ["label: gpt", f"label-id: {disk.identity(self.seed, name)}", "unit: sectors"]
        run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", image, stdin="\n".join(head + lines) + "\n")
        for part, source in placed:
            if source:
                disk.place(image, part, source)
        self.disks[name] = f"{name}.raw"

    def apart(self, path):
        """Takes a folder of the tree out, so that it becomes a filesystem of its own; gives it back at the end."""
        return _Apart(f"{self.tree}/{path}", self.part(path.replace("/", "-") + ".files"))


class _Apart:
    def __init__(self, inside, outside):
        self.inside, self.path = inside, outside

    def __enter__(self):
        os.rename(self.inside, self.path)
        os.mkdir(self.inside)
        return self.path

    def __exit__(self, *_):
        os.rmdir(self.inside)
        os.rename(self.path, self.inside)


def _ext(work, what, mib, files, kind="ext4", label=None):
    path = work.part(what)
    with open(path, "wb") as out:
        out.truncate(mib * MIB)
    disk.make_ext4(path, mib * MIB, f"{work.seed}/{what}", files, kind, label)
    return path


def _fat(work, mib, files):
    path = work.part("efi")
    number = content.stream(work.seed, "efi").getrandbits(32)
    run("mkfs.fat", "-C", "-F", 32, "-s", 1, "-n", "SYSTEM", "-i", f"{number:08x}", path, mib * 1024)
    run("mcopy", "-s", "-m", "-i", path, *sorted(f"{files}/{name}" for name in os.listdir(files)), "::")
    return path, f"{number >> 16:04X}-{number & 0xffff:04X}"


def _swap(work, mib):
    disk.make_swap(work.part("swap"), mib * MIB, work.seed)
    return work.part("swap")


def _mounted_copy(fs, path, files, script="cp -a \"$2/.\" \"$1/\""):
    """Files by the kernel, for filesystems whose own tools cannot take owners and times."""
    at = tempfile.mkdtemp(prefix="mkguest-mount-")
    run("mount", "-t", fs, "-o", "loop", path, at)
    try:
        run("sh", "-ec", script, "sh", at, files)
    finally:
        run("umount", at)
        os.rmdir(at)


def _xfs_or_ext(work, what, mib, files):
    if work.fs == "ext4":
        return _ext(work, what, mib, files)
    path = work.part(what)
    with open(path, "wb") as out:
        out.truncate(mib * MIB)
    disk.make_xfs(path, mib * MIB, f"{work.seed}/{what}", None)
    _mounted_copy("xfs", path, files)
    return path


def _debian(work):
    need("cryptsetup:cryptsetup-bin", "pvcreate:lvm2", "mkfs.fat:dosfstools", "mcopy:mtools")
    work.boot("debian")
    crypt = disk.identity(work.seed, "luks")
    efi_id = f"{content.stream(work.seed, 'efi').getrandbits(32):08X}"
    work.write("etc/crypttab", f"vda3_crypt UUID={crypt} none luks,discard\n")
    work.write("etc/fstab", "# <file system> <mount point> <type> <options> <dump> <pass>\n"
               "/dev/mapper/debian--vg-root / ext4 errors=remount-ro 0 1\n"
               f"UUID={work.id('boot')} /boot ext2 defaults 0 2\n"
               f"UUID={efi_id[:4]}-{efi_id[4:]} /boot/efi vfat umask=0077 0 1\n"
               "/dev/mapper/debian--vg-home /home ext4 defaults 0 2\n"
               "/dev/mapper/debian--vg-swap_1 none swap sw 0 0\n")
    work.settle()
    with work.apart("home") as home, work.apart("boot/efi") as firmware, work.apart("boot") as boot:
        volumes = [("root", _ext(work, "root", 44, work.tree)), ("swap_1", _swap(work, 4)), ("home", _ext(work, "home", 8, home))]
        group = lvm.group(work.part("pv"), work.seed, "debian-vg", [64 * MIB], [lvm.Volume(name, path) for name, path in volumes])
        _encrypt(work, group[0], crypt)
        work.disk("vda", [("efi", "EFI system partition", 36, _fat(work, 36, firmware)[0]),
                          ("linux", "", 16, _ext(work, "boot", 16, boot, "ext2")), ("luks", "", 72, group[0])])
    work.about.update(passphrase=PASSPHRASE, mounted=["boot", "boot/efi", "home"])


def _encrypt(work, path, identity):
    """Encrypts a file in place, from its beginning, as an installer does to a partition; it grows by the header."""
    header = 8 * MIB
    os.truncate(path, os.path.getsize(path) + header)
    run("cryptsetup", "reencrypt", "--encrypt", "--batch-mode", "--key-file", "-", "--reduce-device-size", header, "--resilience",
        "none", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", 1000, "--uuid", identity, path, stdin=PASSPHRASE)


def _redhat(work):
    need("pvcreate:lvm2", "mkfs.fat:dosfstools", "mcopy:mtools", "mkfs.xfs:xfsprogs")
    work.boot("redhat")
    efi_id = f"{content.stream(work.seed, 'efi').getrandbits(32):08X}"
    work.write("etc/fstab", f"/dev/mapper/rhel-root / {work.fs} defaults 0 0\n"
               f"UUID={work.id('boot')} /boot {work.fs} defaults 0 0\n"
               f"UUID={efi_id[:4]}-{efi_id[4:]} /boot/efi vfat umask=0077,shortname=winnt 0 2\n"
               f"/dev/rhel/home /home {work.fs} defaults 0 0\n")
    work.settle()
    with work.apart("home") as home, work.apart("boot/efi") as firmware, work.apart("boot") as boot:
        root, second = _xfs_or_ext(work, "root", 64, work.tree), _xfs_or_ext(work, "home", 64, home)
        # The second volume begins on the first disk and ends on the other.
        group = lvm.group(work.part("pv"), work.seed, "rhel", [108 * MIB, 64 * MIB], [lvm.Volume("root", root), lvm.Volume("home", second)])
        work.disk("vda", [("efi", "EFI System Partition", 36, _fat(work, 36, firmware)[0]),
                          ("linux", "", 64, _xfs_or_ext(work, "boot", 64, boot)), ("lvm", "", 108, group[0])])
        work.disk("vdb", [("lvm", "", 64, group[1])])
    work.about["mounted"] = ["boot", "boot/efi", "home"]


# Subvolumes as the installer names them: the root is the first snapshot, and the default.
_SUSE = r"""
for name in @ @/home @/var @/.snapshots @/.snapshots/1; do
  case $name in @/.snapshots/1) mkdir "$1/$name" ;; *) btrfs -q subvolume create "$1/$name" ;; esac
done
btrfs -q subvolume create "$1/@/.snapshots/1/snapshot"
root=$1/@/.snapshots/1/snapshot
for name in home var; do cp -a "$2/$name/." "$1/@/$name/"; done
for path in "$2"/* ; do
  case ${path##*/} in
    home|var) mkdir "$root/${path##*/}"; touch -r "$path" "$root/${path##*/}" ;;
    *) cp -a "$path" "$root/" ;;
  esac
done
mkdir -p "$root/.snapshots" "$1/@/.snapshots/2"
btrfs -q subvolume snapshot -r "$root" "$1/@/.snapshots/2/snapshot"
id=$(btrfs subvolume list "$1" | sed -n 's/^ID \([0-9]*\) .* path @\/.snapshots\/1\/snapshot$/\1/p')
btrfs subvolume set-default "$id" "$1"
"""


def _suse(work):
    need("mkfs.btrfs:btrfs-progs")
    where = f"UUID={work.id('root')}"
    work.write("etc/fstab", f"{where} / btrfs defaults 0 0\n{where} /home btrfs subvol=/@/home 0 0\n"
               f"{where} /var btrfs subvol=/@/var 0 0\n{where} /.snapshots btrfs subvol=/@/.snapshots 0 0\n")
    work.settle()
    path = work.part("root")
    with open(path, "wb") as out:
        out.truncate(128 * MIB)
    run("mkfs.btrfs", "-q", "-U", work.id("root"), "-L", "SUSE", path)
    _mounted_copy("btrfs", path, work.tree, _SUSE)
    work.disk("vda", [("linux", "root", 128, path)])
    work.about["mounted"] = ["home", "var", ".snapshots"]


def _raid(work):
    need("mdadm:mdadm")
    work.boot("debian")
    work.write("etc/fstab", f"UUID={work.id('root')} / ext4 errors=remount-ro 0 1\n")
    work.write("etc/mdadm/mdadm.conf", f"ARRAY /dev/md/0 metadata=1.2 UUID={raid.identity(work.seed)} name=guest:0\n")
    work.settle()
    root = _ext(work, "root", 48, work.tree)
    members = raid.mirror(work.part("md"), work.seed, "guest:0", root)
    for name, member in zip(("vda", "vdb"), members):
        work.disk(name, [("raid", "", 49, member)])


def _windows(work):
    need("mkntfs:ntfs-3g", "mkfs.fat:dosfstools", "mcopy:mtools")
    source = content.stream(work.seed, "windows")
    trees = {
        "SYSTEM": {"EFI/Microsoft/Boot/bootmgfw.efi": source.randbytes(200_000), "EFI/Boot/bootx64.efi": source.randbytes(100_000)},
        "Windows": {
            "Windows/System32/config/SYSTEM": source.randbytes(256_000), "Windows/System32/ntoskrnl.exe": source.randbytes(600_000),
            "Windows/win.ini": b"; for 16-bit app support\r\n", "Program Files/Common Files/readme.txt": b"text\r\n" * 1000,
            "Users/Anna/Documents/Bericht Größe.docx": source.randbytes(50_000), "Users/Anna/AppData/Local/small": b"x",
            **{f"Windows/WinSxS/component-{number:04}.manifest": content.note(source, str(number)) for number in range(400)},
        },
        "Recovery": {"Recovery/WindowsRE/Winre.wim": source.randbytes(400_000), "Recovery/WindowsRE/ReAgent.xml": b"<WindowsRE/>"},
    }
    for name, files in trees.items():
        for path, data in files.items():
            work.write(f"{name}/{path}", data)
    with open(f"{work.tree}/Windows/pagefile.sys", "wb") as out:
        out.truncate(8 * MIB)
    work.settle()
    efi = _fat(work, 36, f"{work.tree}/SYSTEM")[0]
    system, recovery = (_ntfs(work, name, mib) for name, mib in (("Windows", 48), ("Recovery", 16)))
    work.disk("disk0", [("efi", "EFI system partition", 36, efi), ("msr", "Microsoft reserved partition", 16, None),
                        ("data", "Basic data partition", 48, system), ("recovery", "", 16, recovery)])
    work.about["trees"] = {f"files/{name}": f"tree/{name}" for name in trees}
    work.about["contents_only"].append("")


def _ntfs(work, name, mib):
    path = work.part(name)
    with open(path, "wb") as out:
        out.truncate(mib * MIB)
    run("mkntfs", "-q", "-Q", "-F", "-L", name, "-p", 2048, "-H", 255, "-S", 63, path)
    at = tempfile.mkdtemp(prefix="mkguest-mount-")
    run("ntfs-3g", path, at)
    try:
        run("cp", "-r", "--preserve=timestamps", "--sparse=always", f"{work.tree}/{name}/.", at)
    finally:
        run("umount", at)
        os.rmdir(at)
    return path


KINDS = {"debian": _debian, "redhat": _redhat, "suse": _suse, "raid": _raid, "windows": _windows}


def build(kind, folder, seed, data, fs):
    """Makes the disks, the tree and `system.json` of a system."""
    if os.geteuid() != 0:
        raise Failure("a whole system has files of many owners and is made with loop devices and mounts: run as root")
    need("sfdisk:fdisk", "mkfs.ext4:e2fsprogs")
    os.makedirs(folder, exist_ok=True)
    if os.listdir(folder):
        raise Failure(f"{folder} is not empty")
    work = Work(os.path.abspath(folder), seed, 0 if kind == "windows" else data, fs)
    try:
        KINDS[kind](work)
    finally:
        shutil.rmtree(work.scratch)
    about = {"kind": kind, "seed": seed, "disks": work.disks, **work.about}
    with open(f"{folder}/system.json", "w", encoding="utf-8") as out:
        json.dump(about, out, indent=2)
        out.write("\n")
    say(f"{folder}: {kind}, {', '.join(work.disks.values())}")
