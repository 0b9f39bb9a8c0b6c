"""Real files of this machine as content: which there are, and a seeded choice of them."""

import functools
import os
import re
import stat

from .content import rank

# Shares of the bytes by kind, about as on an installed server.
_SHARES = {"binary": 0.5, "source": 0.15, "data": 0.35}
_SOURCES = (".py", ".h", ".hpp", ".c", ".rs", ".js", ".pl", ".pm", ".sh", ".java", ".go", ".rb", ".ts")


def _roots():
    home = os.path.expanduser("~")
    # Where a file goes in the image: its own path below /usr; developers' files below /opt.
    return [("/usr", "usr"), (f"{home}/.rustup/toolchains", "opt/rustup"), (f"{home}/.cargo/registry", "opt/cargo")]


def _kind(path, mode):
    """What a file is for, told from its name and whether it may be executed."""
    if path.endswith(_SOURCES):
        return "source"
    if ".so" in path or path.endswith((".a", ".rlib")) or mode & 0o111:
        return "binary"
    return "data"


# XFS prototype files and debugfs cannot hold every byte in a name; one rule for every filesystem.
_PLAIN = re.compile(r"[A-Za-z0-9._+@:,=~^%#()\[\]{}!&*;$-]+").fullmatch


@functools.cache
def _listing(root, place):
    """Looked at once: all images of a series come from one state of the machine, even if packages are being installed."""
    return list(_walk(root, place))


def _walk(root, place):
    is_root = os.geteuid() == 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "__pycache__" and _PLAIN(name))
        target = place + folder[len(root):]
        for name in sorted(names):
            path = f"{folder}/{name}"
            try:
                info = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(info.st_mode) and info.st_size > 0 and _PLAIN(name) and (is_root or os.access(path, os.R_OK)):
                mode = stat.S_IMODE(info.st_mode)
                yield path, name, f"{target}/{name}", info.st_size, mode, _kind(path, mode)


def candidates(largest, enough):
    """Usable files as (source path, path in the image, size, mode, kind); no two with one name and size.

    The second rule drops most files that the machine holds twice (toolchains, Python versions): an image full of
    copies of itself would flatter deduplication. Stops looking for more places once it has `enough` bytes.
    """
    seen, total = set(), 0
    for root, place in _roots():
        if total >= enough:
            return
        for path, name, target, size, mode, kind in _listing(root, place):
            if size > largest or (name, size) in seen:
                continue
            seen.add((name, size))
            total += size
            yield path, target, size, mode, kind


def choose(seed, size, without=()):
    """Seeded real files of about `size` bytes together, as (source path, path in the image, size, mode).

    Files whose path in the image is in `without` are left out. Gives less when the machine has less.
    """
    excluded = set(without)
    by_kind = {kind: [] for kind in _SHARES}
    for path, target, length, mode, kind in candidates(max(size // 12, 64 << 10), 2 * size):
        if target not in excluded:
            by_kind[kind].append((rank(seed, target), path, target, length, mode))
    chosen, rest, total = [], [], 0
    for kind, files in by_kind.items():
        room = int(size * _SHARES[kind])
        for entry in sorted(files):
            if entry[3] <= room:
                room -= entry[3]
                total += entry[3]
                chosen.append(entry[1:])
            else:
                rest.append(entry)
    for entry in sorted(rest):
        if total + entry[3] <= size:
            total += entry[3]
            chosen.append(entry[1:])
    return sorted(chosen, key=lambda entry: entry[1])
