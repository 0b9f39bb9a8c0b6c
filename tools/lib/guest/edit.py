"""Changes files inside an image: through debugfs without mounting (ext4), or through a loop mount (root only)."""

import os
import re
import shutil
import tempfile

from . import content, disk
from .run import Failure, need, run
from .tree import set_times


class Mounted:
    """The image's root filesystem mounted; ends unmounted, whatever happens."""

    def __init__(self, image, fs, part):
        if os.geteuid() != 0:
            raise Failure(f"changing {fs} needs a loop mount, so root (ext4 can be changed without)")
        need("mount:mount")
        self.root = tempfile.mkdtemp(prefix="mkguest-mount-")
        options = f"loop,offset={part.offset},sizelimit={part.size}" + (",nouuid" if fs == "xfs" else "")
        try:
            run("mount", "-t", fs, "-o", options, image, self.root)
        except Failure:
            os.rmdir(self.root)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        run("umount", self.root)
        os.rmdir(self.root)

    def _at(self, path):
        return f"{self.root}/{path}"

    def read(self, path, target):
        shutil.copyfile(self._at(path), target)

    def put(self, path, source, mode, seconds):
        os.makedirs(os.path.dirname(self._at(path)), exist_ok=True)
        shutil.copyfile(source, self._at(path))
        os.chmod(self._at(path), mode)
        set_times(self._at(path), seconds)

    def append(self, path, data, seconds):
        with open(self._at(path), "ab") as out:
            out.write(data)
        set_times(self._at(path), seconds)

    def write_pages(self, path, pages, seconds):
        with open(self._at(path), "r+b") as out:
            for number, page in pages:
                out.seek(number * content.PAGE)
                out.write(page)
        set_times(self._at(path), seconds)

    def delete(self, path):
        os.unlink(self._at(path))


class Debugfs:
    """An ext4 changed in place by debugfs; file contents go straight to the blocks they own, as a kernel's would."""

    def __init__(self, image, part):
        need("debugfs:e2fsprogs")
        self.image, self.offset = image, part.offset
        self.env = {"E2FSPROGS_FAKE_TIME": str(content.LAST_SECOND)}
        self.commands, self.folders = [], set()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self._flush()
            run("e2fsck", "-f", "-n", f"{self.image}?offset={self.offset}")

    def _flush(self):
        if self.commands:
            disk.debugfs(self.image, self.offset, self.commands, self.env)
            self.commands = []

    def _ask(self, command):
        self._flush()
        return run("debugfs", "-R", command, f"{self.image}?offset={self.offset}", env=self.env).stdout

    def read(self, path, target):
        self._ask(f'dump /{path} "{target}"')
        if not os.path.exists(target):
            raise Failure(f"{self.image} has no file /{path}")

    def _folder(self, path):
        if path in self.folders or not path:
            return
        self._folder(os.path.dirname(path))
        # One that is there already is complained of and left alone.
        self.commands.append(f"mkdir /{path}")
        self.folders.add(path)

    def put(self, path, source, mode, seconds):
        self._folder(os.path.dirname(path))
        # The 'write' command takes no path with folders.
        self.commands.append(f"cd /{os.path.dirname(path)}")
        self.commands.append(f'write "{source}" {os.path.basename(path)}')
        self.commands.append(f"sif /{path} mode 0{0o100000 | mode:o}")
        self.commands += [f"sif /{path} uid 0", f"sif /{path} gid 0"]
        self._touch(path, seconds)

    def _touch(self, path, seconds):
        self.commands.append(f"sif /{path} mtime @{seconds}")
        self.commands.append(f"sif /{path} mtime_extra 0")

    def _extents(self, path):
        """(first block in the file, first block on the disk, count, unwritten) of each extent, and the tree's depth."""
        rows = re.findall(r"^\s*(\d+)/\s*(\d+)\s+\d+/\s*\d+\s+(\d+) -\s+\d+\s+(\d+) -\s+\d+\s+(\d+)(.*)$",
                          self._ask(f"ex /{path}"), re.M)
        extents = [(int(first), int(at), int(count), "Uninit" in flags)
                   for level, depth, first, at, count, flags in rows if level == depth]
        return extents, max(int(row[1]) for row in rows)

    def _grow(self, path, first, last):
        """Gives the file blocks first..=last; False if its extent tree has become too deep to do it here."""
        self.commands.append(f"fallocate /{path} {first} {last}")
        extents, depth = self._extents(path)
        if depth > 0:
            return False
        # debugfs allocates blocks as unwritten, which read as zeros. An extent of an inode is three of its 15 block
        # words behind a header of three; the second holds the length and the high bits of the place, and a length
        # as it stands, not raised by 32768, means written.
        for index, (_, at, count, unwritten) in enumerate(extents):
            if unwritten:
                word = 3 + 3 * index + 1
                self.commands.append(f"sif /{path} block[{'DIND' if word == 13 else word}] {count | at >> 32 << 16}")
        return True

    def _write_at(self, path, extents, pieces):
        """pieces: (offset in the file, bytes); each within one block."""
        with open(self.image, "r+b") as out:
            for offset, data in pieces:
                block, inside = divmod(offset, content.PAGE)
                for first, at, count, _ in extents:
                    if first <= block < first + count:
                        out.seek(self.offset + (at + block - first) * content.PAGE + inside)
                        out.write(data)
                        break
                else:
                    raise Failure(f"/{path} has no block for offset {offset}")

    def append(self, path, data, seconds):
        size = int(re.search(r"Size: (\d+)", self._ask(f"stat /{path}"))[1])
        end = size + len(data)
        first = -(-size // content.PAGE)
        last = (end - 1) // content.PAGE
        if last >= first and not self._grow(path, first, last):
            self._rewrite(path, data, seconds)
            return
        self.commands.append(f"sif /{path} size {end}")
        self._touch(path, seconds)
        extents, _ = self._extents(path)
        pieces, taken = [], 0
        while taken < len(data):
            step = content.PAGE - (size + taken) % content.PAGE
            piece = data[taken:taken + step]
            # Behind the end of the file there are zeros, not what the block held before.
            pieces.append((size + taken, piece.ljust(step, b"\0")))
            taken += step
        self._write_at(path, extents, pieces)

    def _rewrite(self, path, data, seconds):
        """The file as a whole, somewhere else: for one that has grown too often."""
        with tempfile.TemporaryDirectory(prefix="mkguest-") as work:
            self.read(path, f"{work}/file")
            with open(f"{work}/file", "ab") as out:
                out.write(data)
            self.delete(path)
            self.put(path, f"{work}/file", 0o644, seconds)
            self._flush()

    def write_pages(self, path, pages, seconds):
        self._write_at(path, self._extents(path)[0], ((number * content.PAGE, page) for number, page in pages))
        self._touch(path, seconds)

    def delete(self, path):
        self.commands.append(f"rm /{path}")


def open_image(image, via):
    """An editor for the image; via: 'mount', 'tools' (no mount), or 'auto'."""
    fs, part = disk.find_root(image)
    if via == "tools" and fs != "ext4":
        raise Failure(f"{fs} cannot be changed without a mount; use --via mount as root")
    if via == "mount" or fs != "ext4":
        return Mounted(image, fs, part)
    return Debugfs(image, part)
