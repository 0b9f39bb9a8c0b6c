"""One image from nothing: its files, its partition table, its root filesystem and its swap."""

import os
import shutil
import tempfile

from . import disk, edit, tree
from .run import Failure


class Wanted:
    """What kind of image; sizes in bytes. `like` is the seed of a machine that this one resembles."""

    def __init__(self, size, data, seed, fs="ext4", table="gpt", swap=0, like=None, via="tools"):
        self.size, self.data, self.seed, self.fs = size, data, seed, fs
        self.table, self.swap, self.like, self.via = table, swap, like, via


def build(out, wanted):
    """Writes the image to `out` (it appears there only when it is complete)."""
    parts = disk.layout(wanted.size, wanted.table, wanted.swap)
    root = parts[0]
    if root.size < wanted.data * 1.08:
        raise Failure(f"{wanted.data >> 20} MiB of data do not fit a root of {root.size >> 20} MiB; give a larger --size")
    disk.need_tools(wanted.fs, wanted.table, wanted.swap)
    folder = os.path.dirname(os.path.abspath(out))
    os.makedirs(folder, exist_ok=True)
    work = tempfile.mkdtemp(prefix=".mkguest-", dir=folder)
    try:
        _assemble(f"{work}/image", work, wanted, parts)
        os.replace(f"{work}/image", out)
    finally:
        shutil.rmtree(work)


def _assemble(image, work, wanted, parts):
    with open(image, "wb") as out:
        out.truncate(wanted.size)
    disk.write_table(image, wanted.table, parts, wanted.seed)
    for part in parts:
        if part.role == "root":
            _root(image, work, wanted, part)
        elif part.role == "swap":
            disk.make_swap(f"{work}/swap", part.size, wanted.seed)
            disk.place(image, part, f"{work}/swap")


def _root(image, work, wanted, part):
    source = None
    if wanted.via == "tools":
        source = f"{work}/files"
        os.mkdir(source)
        tree.fill(source, wanted.seed, wanted.data, wanted.like)
    disk.make_filesystem(wanted.fs, f"{work}/root", part.size, wanted.seed, source)
    disk.place(image, part, f"{work}/root")
    if wanted.via == "mount":
        with edit.Mounted(image, wanted.fs, part) as mounted:
            tree.fill(mounted.root, wanted.seed, wanted.data, wanted.like)
