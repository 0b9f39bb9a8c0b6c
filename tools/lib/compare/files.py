"""Getting files back: how fast a mount and the commands are, against the kernel's loop mount and restic's mount.

The disk is an ext4 filesystem made without mounting it, of many small files and a large one.
"""

import os
import random
import shutil
import subprocess
import time

from guest.run import Failure, need, run, say

from . import measure
from .report import table

MIB = 1 << 20
SMALL_FILES = 50_000
COPIED_FILES = 10_000  # the first so many of them, in a directory of their own
LARGE_BYTES = 1 << 30
# Sizes of sparse disks that have the same files.
DISK_SIZES = [3 << 30, 200 << 30, 8 << 40]
# Times as a multiple of the other one's; milliseconds; MiB.
WALK_TARGET = 2.0
FIRST_FILE_TARGET_MS = 50
MEMORY_TARGET_MIB = 400


def make_tree(folder):
    """Small files of made-up text in 250 directories of 200, a large file, and an fstab."""
    os.makedirs(os.path.join(folder, "etc"))
    with open(os.path.join(folder, "etc", "fstab"), "w", encoding="ascii") as out:
        out.write("/dev/vda / ext4 defaults 0 1\n")
    chance = random.Random(7)
    words = [f"{chance.getrandbits(40):x} " for _ in range(2000)]
    for number in range(SMALL_FILES):
        part = "copied" if number < COPIED_FILES else "walked"
        place = os.path.join(folder, part, f"{number // 200:03}")
        if number % 200 == 0:
            os.makedirs(place)
        with open(os.path.join(place, f"file-{number:05}.txt"), "w", encoding="ascii") as out:
            out.write("".join(chance.choices(words, k=chance.randrange(4, 900))))
    with open(os.path.join(folder, "large"), "wb") as out:
        part = chance.randbytes(8 * MIB)
        for number in range(LARGE_BYTES // len(part)):
            # Half of it can be compressed, and no part is like another.
            half = bytes([number]) * (len(part) // 2)
            out.write(part[number:number + len(part) // 2] + half)


def make_disk(path, tree, size_bytes):
    with open(path, "wb") as out:
        out.truncate(size_bytes)
    run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0", "-d", tree, path)


def drop_caches():
    subprocess.run(["sync"], check=True)
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as out:
        out.write("3\n")


def wait_for(path, process):
    """Until a mount shows a path."""
    for _ in range(2000):
        if os.path.exists(path):
            return
        if process.poll() is not None:
            raise Failure(f"the mount ended with exit {process.returncode}")
        time.sleep(0.01)
    raise Failure(f"{path} did not appear")


class Mount:
    """A mount in the foreground, taken away at the end."""

    def __init__(self, command, place, shown, env, unmount):
        self.command, self.place, self.shown, self.env, self.unmount = command, place, shown, env, unmount

    def __enter__(self):
        os.makedirs(self.place, exist_ok=True)
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, env={**os.environ, **self.env})
        wait_for(os.path.join(self.place, self.shown), self.process)
        return os.path.join(self.place, self.shown)

    def __exit__(self, *_):
        subprocess.run([*self.unmount, self.place], check=False, capture_output=True)
        self.process.wait()


class Loop:
    """The kernel's own mount of an image."""

    def __init__(self, image, place):
        self.image, self.place = image, place

    def __enter__(self):
        os.makedirs(self.place, exist_ok=True)
        run("mount", "-o", "loop,ro,noload", self.image, self.place)
        return self.place

    def __exit__(self, *_):
        run("umount", self.place)


def timed(action):
    started = time.monotonic()
    action()
    return time.monotonic() - started


def walk(place):
    """Every path with its attributes, as `find -ls` and backups take them."""
    run("find", place, "-printf", "%s %m %T@ %u\\n")


def read(path):
    with open(path, "rb", buffering=0) as file:
        while file.read(MIB):
            pass


class Race:
    """What is compared. Everything lies below `folder`."""

    def __init__(self, binary, folder, restic):
        self.binary, self.folder, self.restic = binary, folder, restic
        self.vault = os.path.join(folder, "vault")
        self.tree = os.path.join(folder, "tree")
        self.env = {"CAIRN_VAULT": self.vault, "HOME": os.path.join(folder, "home"),
                    "CAIRN_STATE_DIR": os.path.join(folder, "state"), "CAIRN_CONFIG_DIR": os.path.join(folder, "config")}
        self.restic_env = {"RESTIC_PASSWORD": "x", "RESTIC_REPOSITORY": os.path.join(folder, "restic"),
                           "RESTIC_CACHE_DIR": os.path.join(folder, "cache")}

    def disk(self, size_bytes):
        return os.path.join(self.folder, f"disk-{size_bytes >> 30}.raw")

    def machine(self, size_bytes):
        return f"gib{size_bytes >> 30}"

    def prepare(self):
        say("making the files and the disks")
        make_tree(self.tree)
        measure.ask([self.binary, "init", "--encryption", "none"], self.env, self.folder)
        for size_bytes in DISK_SIZES:
            disk = self.disk(size_bytes)
            make_disk(disk, self.tree, size_bytes)
            measure.ask([self.binary, "--quiet", "backup", self.machine(size_bytes), "--disk", f"sda={disk}"], self.env, self.folder)
            if size_bytes != DISK_SIZES[0]:
                os.unlink(disk)
        if self.restic:
            measure.ask(["restic", "init"], self.restic_env, self.folder)
            measure.ask(["restic", "backup", "--quiet", os.path.join(self.tree, "copied")], self.restic_env, self.folder)

    def own(self):
        place = os.path.join(self.folder, "points")
        machine = self.machine(DISK_SIZES[0])
        return Mount([self.binary, "--quiet", "mount", place, machine], place, f"{machine}/latest/root", self.env,
                     ["fusermount3", "-u"])

    def restics(self):
        place = os.path.join(self.folder, "restics")
        return Mount(["restic", "mount", place], place, f"snapshots/latest{self.tree}", self.restic_env, ["fusermount3", "-u"])

    def loop(self):
        return Loop(self.disk(DISK_SIZES[0]), os.path.join(self.folder, "loop"))

    def cold(self, mount, action):
        """The time of something in a mount that is new, with nothing in the page cache."""
        drop_caches()
        with mount as place:
            return timed(lambda: action(place))

    def copied(self, place):
        target = os.path.join(self.folder, "copy")
        seconds = timed(lambda: run("cp", "-a", os.path.join(place, "copied"), target))
        same = subprocess.run(["diff", "-rq", target, os.path.join(self.tree, "copied")], capture_output=True)
        shutil.rmtree(target)
        if same.returncode != 0:
            raise Failure(f"what was copied from {place} differs from the source")
        return seconds

    def copy_cold(self, mount):
        drop_caches()
        with mount as place:
            return self.copied(place)

    def first_file(self, size_bytes):
        """Of a vault that nothing is cached of; the program itself is."""
        drop_caches()
        self.command("--version")
        return measure.run([self.binary, "cat", f"{self.machine(size_bytes)}@latest:/etc/fstab"], self.env, self.folder)

    def command(self, *arguments):
        return measure.run([self.binary, *arguments], self.env, self.folder)


def best(runs, measured):
    return min(measured() for _ in range(runs))


def compared(what, other_name, other, own, target, wanted):
    ratio = own / other
    return [what, f"{other_name} {other:.2f} s", f"{own:.2f} s", f"{ratio:.2f}", wanted, "pass" if ratio <= target else "FAIL"]


def rows_of(race, runs):
    rows = []
    point = f"{race.machine(DISK_SIZES[0])}@latest"
    say("walking")
    kernel = best(runs, lambda: race.cold(race.loop(), walk))
    own = best(runs, lambda: race.cold(race.own(), walk))
    rows.append(compared(f"walk of {SMALL_FILES} files, cold", "loop mount", kernel, own, WALK_TARGET, f"<= {WALK_TARGET}"))
    if race.restic:
        say("copying")
        other = best(runs, lambda: race.copy_cold(race.restics()))
        own = best(runs, lambda: race.copy_cold(race.own()))
        rows.append(compared(f"cp -a of {COPIED_FILES} files, cold", "restic's mount", other, own, 1.0, "<= 1.0"))
    say("reading the large file")
    kernel = best(runs, lambda: race.cold(race.loop(), lambda place: read(os.path.join(place, "large"))))
    own = best(runs, lambda: race.cold(race.own(), lambda place: read(os.path.join(place, "large"))))
    rows.append([f"a file of {LARGE_BYTES // MIB} MiB, cold", f"loop mount {LARGE_BYTES / MIB / kernel:.0f} MiB/s", f"{LARGE_BYTES / MIB / own:.0f} MiB/s",
                 f"{own / kernel:.2f}", "", ""])
    say("first files")
    race.first_file(DISK_SIZES[0])
    for size_bytes in DISK_SIZES:
        taken = min((race.first_file(size_bytes) for _ in range(runs)), key=lambda done: done.wall)
        rows.append([f"first file of a disk of {size_bytes >> 30} GiB, cold", "", f"{taken.wall * 1000:.0f} ms, {taken.rss_bytes / MIB:.0f} MiB",
                     "", f"< {FIRST_FILE_TARGET_MS} ms", "pass" if taken.wall * 1000 < FIRST_FILE_TARGET_MS else "FAIL"])
    say("memory")
    for what, arguments in (("find over all files", ("find", f"{point}:/", "--name", "*.none")),
                            ("a copy of the large file", ("cp", "--overwrite", f"{point}:/large", os.path.join(race.folder, "large")))):
        taken = race.command(*arguments)
        peak = taken.rss_bytes / MIB
        rows.append([what, "", f"{taken.wall:.2f} s, {peak:.0f} MiB", "", f"< {MEMORY_TARGET_MIB} MiB", "pass" if peak < MEMORY_TARGET_MIB else "FAIL"])
    return rows


def compare(binary, folder, runs):
    """Lines of text and whether all targets were reached."""
    need("mkfs.ext4:e2fsprogs", "fusermount3:fuse3")
    restic = shutil.which("restic")
    race = Race(binary, folder, restic)
    race.prepare()
    rows = rows_of(race, runs)
    lines = table([["files", "other", "cairn", "ratio", "wanted", ""]] + rows)
    if not restic:
        lines.append("restic: NOT INSTALLED, its mount is left out")
    return lines, all(row[-1] != "FAIL" for row in rows)
