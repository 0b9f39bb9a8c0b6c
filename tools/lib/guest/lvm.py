"""LVM groups without device-mapper: LVM's own tools on loop devices, logical volumes as the text that the tools restore."""

import os
import tempfile

from . import content
from .disk import MIB, Part, place
from .run import run

EXTENT = 4 * MIB
# Where the first extent begins; said to the tools, so that it is known here.
_START = MIB
_ID = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Volume:
    """A logical volume with the bytes of a file, whose size is a whole number of extents."""

    def __init__(self, name, source):
        self.name, self.source = name, source
        self.extents = -(-os.path.getsize(source) // EXTENT)


def _identity(seed, what):
    """An id in LVM's own form."""
    letters = "".join(content.stream(seed, what).choice(_ID) for _ in range(32))
    cuts = [0, 6, 10, 14, 18, 22, 26, 32]
    return "-".join(letters[start:end] for start, end in zip(cuts, cuts[1:]))


class _Loops:
    """Files as loop devices, and the tools confined to them."""

    def __init__(self, paths):
        self.paths, self.devices = paths, []

    def __enter__(self):
        self.home = tempfile.mkdtemp(prefix="mkguest-lvm-")
        for path in self.paths:
            self.devices.append(run("losetup", "-f", "--show", path).stdout.strip())
        return self

    def __exit__(self, *_):
        for device in self.devices:
            run("losetup", "-d", device)
        for name in os.listdir(self.home):
            os.unlink(f"{self.home}/{name}")
        os.rmdir(self.home)

    def tool(self, name, *arguments):
        accepted = "".join(f'"a|^{device}$|",' for device in self.devices)
        config = (f'devices{{use_devicesfile=0 filter=[{accepted}"r|.*|"] obtain_device_list_from_udev=0 '
                  'external_device_info_source="none"} activation{udev_sync=0 udev_rules=0 monitoring=0} '
                  'global{use_lvmpolld=0 event_activation=0 notify_dbus=0} backup{backup=0 archive=0}')
        env = {"LVM_SYSTEM_DIR": self.home, "LVM_SUPPRESS_FD_WARNINGS": "1", "DM_DISABLE_UDEV": "1"}
        return run(name, "-qq", *arguments, "--config", config, env=env)


def group(path, seed, name, sizes, volumes):
    """Makes the physical volumes `path`0, `path`1, ... of these sizes; gives their files."""
    files = [f"{path}{number}" for number in range(len(sizes))]
    for file, size in zip(files, sizes):
        with open(file, "wb") as out:
            out.truncate(size)
    # What fits on a disk: one extent less than its size has, for the label and the metadata before the first.
    room = [(size - _START) // EXTENT for size in sizes]
    segments = _lay_out(volumes, room)
    with _Loops(files) as loops:
        for number, device in enumerate(loops.devices):
            loops.tool("pvcreate", "--uuid", _identity(seed, f"pv{number}"), "--norestorefile", "--dataalignment", "1m", device)
        loops.tool("vgcreate", "-s", f"{EXTENT}b", name, *loops.devices)
        text = f"{loops.home}/text"
        loops.tool("vgcfgbackup", "-f", text, name)
        with open(text, encoding="utf-8") as file:
            found = file.read().rstrip().removesuffix("}")
        with open(text, "w", encoding="utf-8") as out:
            out.write(f"{found}logical_volumes {{\n{_text(seed, segments)}}}\n}}\n")
        loops.tool("vgcfgrestore", "--force", "-y", "-f", text, name)
    for volume, pieces in segments:
        begin = 0
        for number, extent, count in pieces:
            place(files[number], Part(volume.name, _START + extent * EXTENT, count * EXTENT), volume.source, begin)
            begin += count * EXTENT
    return files


def _lay_out(volumes, room):
    """One volume behind the other, from disk to disk: (volume, [(disk, first extent, extents)])."""
    placed, number, used = [], 0, 0
    for volume in volumes:
        pieces, left = [], volume.extents
        while left:
            if used == room[number]:
                number, used = number + 1, 0
            count = min(left, room[number] - used)
            pieces.append((number, used, count))
            used, left = used + count, left - count
        placed.append((volume, pieces))
    return placed


def _text(seed, segments):
    text = ""
    for volume, pieces in segments:
        text += (f'{volume.name} {{ id="{_identity(seed, volume.name)}" status=["READ","WRITE","VISIBLE"] flags=[] '
                 f'creation_time={content.LAST_SECOND} creation_host="guest" segment_count={len(pieces)}\n')
        start = 0
        for index, (number, extent, count) in enumerate(pieces, 1):
            text += (f'segment{index} {{ start_extent={start} extent_count={count} type="striped" stripe_count=1 '
                     f'stripes=["pv{number}",{extent}] }}\n')
            start += count
        text += "}\n"
    return text
