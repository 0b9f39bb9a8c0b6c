"""Disks: partition tables, filesystems made without mounting, and where the root filesystem of an image lies."""

import json
import os
import re
import shutil
import uuid

from . import content
from .run import Failure, need, run

SECTOR = 512
MIB = 1 << 20
_LINUX = {"gpt": "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "dos": "83"}
_SWAP = {"gpt": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "dos": "82"}
_BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
TABLES = ("gpt", "mbr", "mbr63", "none")
FILESYSTEMS = ("ext4", "xfs", "btrfs")
_TOOLS = {"ext4": "mkfs.ext4:e2fsprogs", "xfs": "mkfs.xfs:xfsprogs", "btrfs": "mkfs.btrfs:btrfs-progs"}
_SMALLEST = {"ext4": 8 * MIB, "xfs": 32 * MIB, "btrfs": 128 * MIB}


class Part:
    """A region of a disk, in bytes."""

    def __init__(self, role, offset, size):
        self.role, self.offset, self.size = role, offset, size


def identity(seed, what):
    """A fixed UUID for one thing of one seed."""
    return str(uuid.UUID(int=content.stream(seed, what).getrandbits(128), version=4))


def need_tools(fs, table, swap):
    wanted = [_TOOLS[fs]]
    if table != "none":
        wanted.append("sfdisk:fdisk")
    if swap:
        wanted.append("mkswap:util-linux")
    need(*wanted)


def layout(size, table, swap):
    """The parts of a disk; swap lies behind the root, as old installers put it."""
    if size % SECTOR:
        raise Failure(f"the size must be a multiple of {SECTOR} bytes, not {size}")
    if table == "none":
        if swap:
            raise Failure("a disk without a partition table has no room for --swap")
        return [Part("root", 0, size)]
    start = {"gpt": 2 * MIB, "mbr": MIB, "mbr63": 63 * SECTOR}[table]
    # A GPT keeps its second copy in the last 33 sectors.
    end = (size - (MIB if table == "gpt" else 0)) // MIB * MIB
    swap_start = end - (swap + MIB - 1) // MIB * MIB
    # The old geometry's partitions end where the next begins, aligned or not; the block grid of the root stays its own.
    root = Part("root", start, (swap_start - start) // content.PAGE * content.PAGE)
    parts = [root]
    if swap:
        parts.append(Part("swap", swap_start, end - swap_start))
    if table == "gpt":
        parts.append(Part("boot", MIB, MIB))
    return parts


def write_table(image, table, parts, seed):
    if table == "none":
        return
    kind = "gpt" if table == "gpt" else "dos"
    types = {"root": _LINUX[kind], "swap": _SWAP[kind], "boot": _BIOS_BOOT}
    label_id = identity(seed, "disk") if kind == "gpt" else f"0x{content.stream(seed, 'disk').getrandbits(32):08x}"
    lines = [f"label: {kind}", f"label-id: {label_id}", "unit: sectors"]
    for part in sorted(parts, key=lambda part: part.offset):
        line = f"start={part.offset // SECTOR}, size={part.size // SECTOR}, type={types[part.role]}"
        if kind == "gpt":
            line += f", uuid={identity(seed, part.role)}, name={part.role}"
        elif part.role == "root":
            line += ", bootable"
        lines.append(line)
    run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", image, stdin="\n".join(lines) + "\n")
    source = content.stream(seed, "boot code")
    gap = MIB if kind == "gpt" else SECTOR
    with open(image, "r+b") as out:
        out.write(source.randbytes(440))
        out.seek(gap)
        out.write(source.randbytes(30000))


def make_swap(path, size, seed):
    """Swap that was used: some pages are still in it."""
    with open(path, "wb") as out:
        out.truncate(size)
    run("mkswap", "--uuid", identity(seed, "swap"), path)
    source = content.stream(seed, "swapped out")
    with open(path, "r+b") as out:
        for _ in range(size // content.PAGE // 16):
            out.seek(source.randrange(1, size // content.PAGE) * content.PAGE)
            out.write(content.db_page(source, 0))


def _fake_time(env):
    """Freezes the clock of a tool that has no switch for it, where libfaketime is there."""
    if shutil.which("faketime"):
        return ["faketime", "-f", "2026-01-01 00:00:00"], {**env, "TZ": "UTC"}
    return [], env


def make_ext4(path, size, seed, tree, kind="ext4", label=None):
    env = {"E2FSPROGS_FAKE_TIME": str(content.LAST_SECOND), "SOURCE_DATE_EPOCH": str(content.LAST_SECOND)}
    options = f"hash_seed={identity(seed, 'hash')},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"
    source = ["-d", tree] if tree else []
    label = ["-L", label] if label else []
    run("mkfs.ext4", "-q", "-F", "-t", kind, "-b", 4096, "-U", identity(seed, "root fs"), *label, "-E", options, *source,
        path, f"{size // 4096}", env=env)
    if tree:
        _settle_ext4(path, tree, env)


def _settle_ext4(path, tree, env):
    """Change times are not the host's, nor are owners where the tree could have no others than who runs this."""
    owners = () if os.geteuid() == 0 else (("uid", 0), ("gid", 0))
    commands = []
    for folder, folders, names in os.walk(tree):
        for name in [""] + names + [name for name in folders if os.path.islink(os.path.join(folder, name))]:
            inside = "/" + os.path.relpath(os.path.join(folder, name), tree)
            for field, value in (("ctime", f"@{content.LAST_SECOND}"), ("atime", f"@{content.LAST_SECOND}"),
                                 ("ctime_extra", 0), ("atime_extra", 0), *owners):
                commands.append(f'sif "{os.path.normpath(inside)}" {field} {value}')
    debugfs(path, 0, commands, env)


def debugfs(image, offset, commands, env=None):
    """Runs commands on an unmounted ext4; debugfs itself never fails, so what it complains of is looked at."""
    done = run("debugfs", "-w", "-f", "/dev/stdin", f"{image}?offset={offset}", stdin="\n".join(commands) + "\n", env=env)
    harmless = re.compile(r"debugfs 1\.|(ext2fs_)?mkdir: Ext2 directory already exists")
    complaints = [line for line in done.stderr.splitlines() if line and not harmless.match(line)]
    if complaints:
        raise Failure(f"debugfs on {image}: {complaints[0]} ({len(complaints)} complaints)")
    return done.stdout


def _prototype(tree):
    """The tree as an mkfs.xfs prototype: no times, no hard links, holes filled."""
    lines = ["/dev/null", "0 0", "d--755 0 0"]

    def walk(folder):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                lines.append(f"{name} l--777 0 0 {os.readlink(path)}")
            elif os.path.isdir(path):
                lines.append(f"{name} d--755 0 0")
                walk(path)
            else:
                mode = os.stat(path).st_mode
                bits = ("u" if mode & 0o4000 else "-") + ("g" if mode & 0o2000 else "-")
                lines.append(f"{name} -{bits}{mode & 0o777:03o} 0 0 {os.path.abspath(path)}")
        lines.append("$")

    walk(tree)
    return "\n".join(lines) + "\n"


def make_xfs(path, size, seed, tree):
    options = ["-m", f"uuid={identity(seed, 'root fs')}"]
    env = {}
    if size < 1 << 30:
        # It has to fit into a quarter of the filesystem.
        options += ["-l", "size=16m" if size >= 128 * MIB else "size=8m"]
    if size < 300 * MIB:
        # mkfs.xfs makes small filesystems only for its own test suite, which says so this way.
        env = {"TEST_DIR": "1", "TEST_DEV": "1", "QA_CHECK_FS": "1"}
    if tree:
        if any(" " in part for part in os.path.abspath(tree)):
            raise Failure("mkfs.xfs cannot take files from a path with spaces")
        with open(f"{path}.proto", "w", encoding="utf-8") as out:
            out.write(_prototype(tree))
        options += ["-p", f"{path}.proto"]
    prefix, env = _fake_time(env)
    run(*prefix, "mkfs.xfs", "-q", *options, path, env=env)


def make_btrfs(path, size, seed, tree):
    source = ["--rootdir", tree] if tree else []
    # Its device and chunk UUIDs are random whatever one does, so the image is not the same bit for bit; its files are.
    run("mkfs.btrfs", "-q", "-b", size, "-U", identity(seed, "root fs"), *source, path)


def make_filesystem(fs, path, size, seed, tree=None):
    """A filesystem in its own sparse file, filled from the folder `tree` if there is one."""
    if size < _SMALLEST[fs]:
        raise Failure(f"{fs} needs a partition of at least {_SMALLEST[fs] // MIB} MiB")
    with open(path, "wb") as out:
        out.truncate(size)
    {"ext4": make_ext4, "xfs": make_xfs, "btrfs": make_btrfs}[fs](path, size, seed, tree)


def place(image, part, source, begin=0):
    """Copies a file, from `begin` on, to a part of a disk; holes stay holes."""
    with open(source, "rb") as data, open(image, "r+b") as out:
        end, position = min(os.fstat(data.fileno()).st_size, begin + part.size), begin
        while position < end:
            try:
                position = os.lseek(data.fileno(), position, os.SEEK_DATA)
            except OSError:
                return
            stop = min(os.lseek(data.fileno(), position, os.SEEK_HOLE), end)
            os.lseek(out.fileno(), part.offset + position - begin, os.SEEK_SET)
            while position < stop:
                sent = os.sendfile(out.fileno(), data.fileno(), position, min(stop - position, 64 * MIB))
                position += sent


def _probe(image, offset):
    with open(image, "rb") as disk:
        def at(position, length):
            disk.seek(offset + position)
            return disk.read(length)
        if at(1080, 2) == b"\x53\xef":
            return "ext4"
        if at(0, 4) == b"XFSB":
            return "xfs"
        if at(65600, 8) == b"_BHRfS_M":
            return "btrfs"
    return None


def find_root(image):
    """The filesystem of an image and its place: ('ext4', Part)."""
    size = os.path.getsize(image)
    fs = _probe(image, 0)
    if fs:
        return fs, Part("root", 0, size)
    need("sfdisk:fdisk")
    table = json.loads(run("sfdisk", "--json", image).stdout)["partitiontable"]
    for entry in table.get("partitions", []):
        part = Part("root", entry["start"] * SECTOR, entry["size"] * SECTOR)
        fs = _probe(image, part.offset)
        if fs:
            return fs, part
    raise Failure(f"{image} holds no ext4, XFS or btrfs")
