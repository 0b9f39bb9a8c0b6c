"""The steps of the comparison and running them, the tools in turn, so that drift of the machine hits all alike."""

import os
import shutil
import subprocess

from guest.run import Failure, say

from . import measure

# (step, image of the series, machine)
BACKUPS = [
    ("first", "day0", "web01"),
    ("next day", "day1", "web01"),
    ("page writes", "day2", "web01"),
    ("unchanged", "day2", "web01"),
    ("second machine", "second", "web02"),
    ("XFS twin", "xfs", "web03"),
]
# (step, the backup that is restored)
RESTORES = [
    ("restore first", "first"),
    ("restore latest", "page writes"),
    ("restore second", "second machine"),
    ("restore XFS", "XFS twin"),
]
STEPS = [step for step, _, _ in BACKUPS] + [step for step, _ in RESTORES]


class Sources:
    """Gives each image of the series the same path in turn, as a machine's disk has the same path every day."""

    def __init__(self, series, folder):
        self.series = series
        self.path = os.path.join(folder, "source", "disk.raw")
        self.data_bytes = {}
        os.makedirs(os.path.dirname(self.path), exist_ok=True)

    def image(self, name):
        return os.path.join(self.series, f"{name}.raw")

    def show(self, name):
        """Puts an image in place, newly written as far as a tool can see, so that none may skip reading it."""
        if os.path.lexists(self.path):
            os.unlink(self.path)
        try:
            os.link(self.image(name), self.path)
        except OSError as error:
            raise Failure(f"the series must lie on the filesystem of the working folder: {error}") from None
        os.utime(self.path)
        self.data_bytes[name] = measure.warm(self.path)


class Results:
    """figures[tool][step] = one dict a run; failed[tool] = why it was dropped."""

    def __init__(self):
        self.figures, self.failed = {}, {}

    def add(self, tool, step, measured, vault_bytes):
        self.figures.setdefault(tool.name, {}).setdefault(step, []).append({
            "wall_seconds": round(measured.wall, 4),
            "cpu_seconds": round(measured.cpu, 4),
            "rss_bytes": measured.rss_bytes,
            "vault_bytes": vault_bytes,
        })


def _settle():
    # What the tool before wrote must not be written back in the measured time of the next.
    subprocess.run(["sync"], check=True)


def _turns(tools, results, number):
    """The tools still in the race, another one first each time."""
    racing = [tool for tool in tools if tool.name not in results.failed]
    start = number % max(len(racing), 1)
    return racing[start:] + racing[:start]


def _attempt(tool, results, what, action):
    try:
        return action()
    except (Failure, OSError, KeyError, IndexError, ValueError) as error:
        say(f"  {tool.name}: {what} FAILED: {error}")
        results.failed[tool.name] = f"{what}: {str(error).strip().splitlines()[-1]}"
        return None


def _backup(tool, results, sources, step, image, machine):
    if tool.steps() is not None and step not in tool.steps():
        return
    sources.show(image)
    _settle()
    done = _attempt(tool, results, step, lambda: tool.backup(step, machine, sources.path))
    if done:
        results.add(tool, step, done, measure.tree_size(tool.vault))
        say(f"  {tool.name}: {done.wall:.2f} s")


def _restore(tool, results, sources, step, backup, image):
    if backup not in tool.points:
        return
    target = os.path.join(tool.folder, "restored")
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    _settle()
    done = _attempt(tool, results, step, lambda: tool.restore(backup, target))
    if done:
        same = subprocess.run(["cmp", tool.restored(target, sources.path), sources.image(image)], capture_output=True)
        if same.returncode != 0:
            results.failed[tool.name] = f"{step}: the restored disk differs from the source"
            say(f"  {tool.name}: {results.failed[tool.name]}")
        else:
            results.add(tool, step, done, measure.tree_size(tool.vault))
            say(f"  {tool.name}: {done.wall:.2f} s, the same bit for bit")
    shutil.rmtree(target, ignore_errors=True)


def run_once(tools, results, sources, number):
    """All steps once, in fresh vaults."""
    for tool in _turns(tools, results, 0):
        _attempt(tool, results, "making a vault", tool.begin)
    images = {}
    for index, (step, image, machine) in enumerate(BACKUPS):
        images[step] = image
        say(f"run {number + 1}, {step}")
        for tool in _turns(tools, results, number + index):
            _backup(tool, results, sources, step, image, machine)
    for index, (step, backup) in enumerate(RESTORES):
        say(f"run {number + 1}, {step}")
        for tool in _turns(tools, results, number + index):
            _restore(tool, results, sources, step, backup, images[backup])
