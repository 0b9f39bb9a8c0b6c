"""The images that deduplicating tools are compared on: one machine over three days, a similar one, its twin on XFS."""

import json
import os

from . import image, nextday
from .run import allocated, say

MIB = 1 << 20


class Scale:
    """Sizes in bytes: the disk, the data on it, and what day 1 changes."""

    def __init__(self, size, data, swap, day1, pages):
        self.size, self.data, self.swap, self.day1, self.pages = size, data, swap, day1, pages


SCALES = {
    # A database of 16% of the data, in which day 2 writes 4,000 random pages.
    "full": lambda: Scale(8 << 30, 2400 * MIB, 512 * MIB, nextday.Amounts(
        added=350 * MIB, grown=48 * MIB, copied=150 * MIB, deleted=30 * MIB, pages=200), 4000),
    "small": lambda: Scale(256 * MIB, 36 * MIB, 16 * MIB, nextday.Amounts(
        added=5 * MIB, grown=MIB, copied=2 * MIB, deleted=MIB, pages=20), 200),
}

STEPS = [
    ("day0", "the first day"),
    ("day1", "packages added, logs grown, a tree copied, files deleted"),
    ("day2", "random 4 KiB pages written in a database file"),
    ("second", "a second, similar machine with its own mkfs"),
    ("xfs", "the machine of day0 on XFS"),
]


def _make(name, folder, scale, via):
    out = f"{folder}/{name}.raw"
    system = dict(size=scale.size, data=scale.data, swap=scale.swap, via=via)
    if name == "day0":
        image.build(out, image.Wanted(seed=1, **system))
    elif name == "second":
        image.build(out, image.Wanted(seed=7, like=1, **system))
    elif name == "xfs":
        image.build(out, image.Wanted(seed=1, fs="xfs", **system))
    else:
        before = f"{folder}/{'day0' if name == 'day1' else 'day1'}.raw"
        amounts = scale.day1 if name == "day1" else nextday.Amounts(0, 0, 0, 0, scale.pages)
        say("  " + nextday.derive(before, out, int(name[3:]) + 1, amounts, via))


def build(folder, scale_name, via):
    """Makes what is missing of the series and describes it in series.json."""
    scale = SCALES[scale_name]()
    os.makedirs(folder, exist_ok=True)
    steps = []
    for name, about in STEPS:
        path = f"{folder}/{name}.raw"
        if not os.path.exists(path):
            say(f"{name}: {about}")
            _make(name, folder, scale, via)
        steps.append({"name": name, "file": f"{name}.raw", "about": about,
                      "size_bytes": os.path.getsize(path), "allocated_bytes": allocated(path)})
        say(f"  {path}: {allocated(path) / MIB:.0f} MiB on disk")
    description = {"scale": scale_name, "made_by": via, "steps": steps}
    with open(f"{folder}/series.json", "w", encoding="utf-8") as out:
        json.dump(description, out, indent=2)
        out.write("\n")
