"""Fills a folder with the files of a machine: real ones of this host and seeded ones. Knows nothing of filesystems."""

import os
import shutil

from . import content, pool
from .run import Failure

INVENTORY = "var/lib/mkguest/inventory"
DATABASE = "var/lib/db/main.db"
LOGS = ["var/log/syslog", "var/log/auth.log", "var/log/nginx/access.log", "var/log/db/db.log"]

# Shares of the data, the rest are real files of the host.
_DATABASE, _LOGS, _BLOBS, _SMALL = 0.16, 0.06, 0.10, 0.02
# Of the system files, what a similar machine has in common with the one it resembles.
_COMMON = 0.85


class Entry:
    """A file of the machine: what kind it is, its path, its size, and how to write it."""

    def __init__(self, kind, path, size, write, mode=0o644):
        self.kind, self.path, self.size, self.write, self.mode = kind, path, size, write, mode


def _from_pieces(pieces):
    def write(target):
        with open(target, "wb") as out:
            out.writelines(pieces())
    return write


def _sparse(seed, path, size):
    """Three islands of data in a hole."""
    def write(target):
        source = content.stream(seed, path)
        with open(target, "wb") as out:
            for island in range(3):
                out.seek(size * island // 3 // content.PAGE * content.PAGE)
                out.write(source.randbytes(24 << 10))
            out.truncate(size)
    return write


def copy_of(source):
    """Writes a copy of a file of this host."""
    return lambda target: shutil.copyfile(source, target)


def _synthetic(seed, data):
    pages = max(int(data * _DATABASE) // content.PAGE, 16)
    yield Entry("db", DATABASE, pages * content.PAGE,
                _from_pieces(lambda: content.db_pages(content.stream(seed, DATABASE), pages)), 0o600)
    for path in LOGS:
        size = int(data * _LOGS) // len(LOGS) + 777
        yield Entry("log", path, size,
                    _from_pieces(lambda path=path, size=size: content.log_lines(content.stream(seed, path), size)))
    for index in range(8):
        path, size = f"srv/media/clip-{index}.bin", int(data * _BLOBS) // 8 + 1
        yield Entry("blob", path, size,
                    _from_pieces(lambda path=path, size=size: content.blob(content.stream(seed, path), size)))
    for index in range(min(max(int(data * _SMALL) // 2600, 32), 20000)):
        path = f"var/spool/mail/{index % 64:02}/msg-{index:05}"
        text = content.note(content.stream(seed, path), path)
        yield Entry("small", path, len(text), _from_pieces(lambda text=text: [text]), 0o640)
    size = max(data // 8 // content.PAGE, 64) * content.PAGE
    yield Entry("sparse", "var/lib/images/scratch.img", size, _sparse(seed, "scratch", size))


def _system(seed, size, like):
    if like is None:
        return pool.choose(seed, size)
    base = pool.choose(like, size)
    kept = [entry for entry in base if content.rank(seed, entry[1])[0] < 256 * _COMMON]
    missing = size - sum(entry[2] for entry in kept)
    return kept + pool.choose(seed, missing, without=[entry[1] for entry in base])


def plan(seed, data, like=None, real=True):
    """All files of a machine with about `data` bytes; `like` is the seed of a machine to resemble, `real` whether it has files of this host."""
    entries = list(_synthetic(seed, data))
    left = max(int(data * (1 - _DATABASE - _LOGS - _BLOBS - _SMALL)), 0)
    for source, path, size, mode in _system(seed, left, like) if real else ():
        entries.append(Entry("system", path, size, copy_of(source), mode))
    host = f"guest-{seed}"
    for path, text in {
        "etc/hostname": f"{host}\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {host}\n",
        "etc/machine-id": f"{content.stream(seed, 'machine-id').getrandbits(128):032x}\n",
        "etc/os-release": 'NAME="Cairn test guest"\nID=guest\n',
    }.items():
        entries.append(Entry("etc", path, len(text), _from_pieces(lambda text=text: [text.encode()])))
    return entries


def inventory_text(rows):
    """rows: (kind, size, path)."""
    return "".join(f"{kind}\t{size}\t{path}\n" for kind, size, path in sorted(rows, key=lambda row: row[2]))


def parse_inventory(text):
    rows = (line.split("\t") for line in text.splitlines())
    return [(kind, int(size), path) for kind, size, path in rows]


def set_times(path, seconds):
    os.utime(path, (seconds, seconds), follow_symlinks=False)


def _links(root):
    """Symbolic links and a hard link, as every system has."""
    os.symlink("../usr/share", f"{root}/etc/share")
    os.symlink("/var/lib/db/main.db", f"{root}/srv/current.db")
    os.symlink("x" * 100, f"{root}/srv/long-and-broken")
    os.link(f"{root}/etc/hostname", f"{root}/etc/hostname.hard")


def fill(root, seed, data, like=None, real=True):
    """Makes the files below `root` (an empty folder or a fresh filesystem) and returns the bytes of their contents."""
    entries = plan(seed, data, like, real)
    # The order of folders decides where an allocator puts the files: no two machines have it the same.
    entries.sort(key=lambda entry: (content.rank(seed, os.path.dirname(entry.path)), entry.path))
    for folder in ("dev", "proc", "sys", "tmp", "root", "mnt", "usr/share"):
        os.makedirs(f"{root}/{folder}", exist_ok=True)
    for entry in entries:
        target = f"{root}/{entry.path}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            entry.write(target)
        except OSError as error:
            raise Failure(f"cannot write {entry.path}: {error.strerror}; is the image large enough?") from None
        os.chmod(target, entry.mode)
    os.makedirs(os.path.dirname(f"{root}/{INVENTORY}"), exist_ok=True)
    with open(f"{root}/{INVENTORY}", "w", encoding="ascii") as out:
        out.write(inventory_text((entry.kind, entry.size, entry.path) for entry in entries))
    _links(root)
    for folder, folders, names in os.walk(root, topdown=False):
        for name in names + folders:
            path = os.path.join(folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                os.chmod(path, 0o755)
            set_times(path, content.file_time(seed, os.path.relpath(path, root)))
    os.chmod(root, 0o755)
    set_times(root, content.file_time(seed, "."))
    return sum(entry.size for entry in entries if entry.kind != "sparse")
