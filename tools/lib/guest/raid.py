"""Members of an md raid1, written without its driver: superblock (metadata 1.2) and data. mdadm checks what was written.

Layout: struct mdp_superblock_1 of the kernel's md_p.h.
"""

import os
import struct

from . import content, disk
from .disk import MIB, SECTOR, Part
from .run import Failure, run

_MAGIC = 0xA92B4EFC
_SUPERBLOCK = 4096
_DATA = MIB


def _uuid(seed, what):
    return content.stream(seed, what).randbytes(16)


def identity(seed):
    """The array's UUID as mdadm writes it."""
    text = _uuid(seed, "array").hex()
    return ":".join(text[at:at + 8] for at in range(0, 32, 8))


def _superblock(seed, name, sectors, role, devices):
    head = struct.pack("<IIII16s32sQIIQIIiIQIIII", _MAGIC, 1, 0, 0, _uuid(seed, "array"), name.encode(), content.FIRST_SECOND, 1, 0,
                       sectors, 0, devices, 0, 0, 0, 0, 0, 0, 0)
    device = struct.pack("<QQQQII16sBBHI", _DATA // SECTOR, sectors, _SUPERBLOCK // SECTOR, 0, role, 0, _uuid(seed, f"member {role}"),
                         0, 0, 0, 0)
    state = struct.pack("<QQQ", content.LAST_SECOND, 40, 2**64 - 1)
    block = bytearray((head.ljust(128, b"\0") + device.ljust(64, b"\0") + state).ljust(256, b"\0"))
    # Roles beyond the devices: none.
    roles = struct.pack(f"<{devices}H", *range(devices)) + b"\xff\xff" * (128 - devices)
    struct.pack_into("<I", block, 220, 128)
    block += roles
    total = sum(struct.unpack(f"<{len(block) // 4}I", block))
    struct.pack_into("<I", block, 216, ((total & 0xFFFFFFFF) + (total >> 32)) & 0xFFFFFFFF)
    return block


def mirror(path, seed, name, source, devices=2):
    """Makes the members `path`0, `path`1, ... with the bytes of a file; gives their files."""
    size = os.path.getsize(source)
    files = [f"{path}{role}" for role in range(devices)]
    for role, file in enumerate(files):
        with open(file, "wb") as out:
            out.truncate(_DATA + size)
            out.seek(_SUPERBLOCK)
            out.write(_superblock(seed, name, size // SECTOR, role, devices))
        disk.place(file, Part("data", _DATA, size), source)
        told = run("mdadm", "--examine", file).stdout
        if identity(seed) not in told or "raid1" not in told or " - correct" not in told:
            raise Failure(f"mdadm does not take the superblock that was written:\n{told}")
    return files
