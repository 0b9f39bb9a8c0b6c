"""Seeded file contents: database pages, logs, blobs, configuration. Pure: the same seed gives the same bytes.

Random text is drawn anew for every page and line, never sliced from a pool: a repeated pool would let compressors with
a large window find matches that real data does not have.
"""

import hashlib
import random
import struct
import zlib

PAGE = 4096
# Times lie between 2025-01-01 and 2026-01-01; a next day lies one day after the newest.
FIRST_SECOND = 1735689600
LAST_SECOND = 1767225600

_HEX = bytes(b"0123456789abcdef"[value & 15] for value in range(256))
_PROGRAMS = ["kernel", "sshd", "systemd", "cron", "nginx", "postgres", "dhclient", "postfix/smtpd", "sudo"]
_EVENTS = [
    "Accepted publickey for user{0} from 10.0.{1}.{2} port {3} ssh2",
    "Started Session {3} of User user{0}.",
    "GET /api/v1/items/{3}?page={1} HTTP/1.1 200 {4} 0.0{2}",
    "checkpoint complete: wrote {1} buffers; sync={2} ms; distance={4} kB",
    "connect from mail{0}.example.org[10.0.{1}.{2}]",
    "IN=eth0 OUT= SRC=10.0.{1}.{2} DST=10.0.0.1 LEN={4} TTL=64 ID={3} PROTO=TCP SPT={4}",
    "(root) CMD (/usr/lib/task-{0} --slot {1} --run {4})",
]


def stream(*words):
    """A random stream that depends on nothing but the words."""
    return random.Random("/".join(str(word) for word in words))


def rank(seed, name):
    """An order for names that hardly changes when some names come or go."""
    return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogateescape"), digest_size=8).digest()


def file_time(seed, name):
    """When a file was last written, in seconds."""
    return FIRST_SECOND + int.from_bytes(rank(seed, name), "little") % (LAST_SECOND - FIRST_SECOND)


def db_page(source, number):
    """One page of a database file: header, rows of text and keys, free space; about half compressible."""
    text = source.randbytes(2300 + source.randrange(500)).translate(_HEX)
    keys = source.randbytes(700 + source.randrange(300))
    body = text + keys
    header = struct.pack("<8sQIIQ", b"DBPAGE01", number, zlib.crc32(body), len(body), source.getrandbits(40))
    return (header + body).ljust(PAGE, b"\0")


def db_pages(source, count):
    """Whole new pages 0..count."""
    for number in range(count):
        yield db_page(source, number)


def log_lines(source, size):
    """Syslog-like text of exactly `size` bytes, in pieces."""
    second, written = FIRST_SECOND + source.randrange(86400), 0
    while written < size:
        lines = []
        for _ in range(1000):
            second += source.randrange(3)
            event = source.choice(_EVENTS).format(
                source.randrange(40), source.randrange(256), source.randrange(256), source.randrange(65536),
                source.randrange(20000))
            lines.append(f"{second} web01 {source.choice(_PROGRAMS)}[{source.randrange(30000)}]: {event}\n")
        piece = "".join(lines).encode()[: size - written]
        written += len(piece)
        yield piece


def blob(source, size):
    """Incompressible bytes (media, archives, encrypted files), in pieces."""
    while size > 0:
        piece = source.randbytes(min(size, 1 << 20))
        size -= len(piece)
        yield piece


def note(source, name):
    """A small text file: configuration, a mail, a session; from a few bytes to some KiB."""
    lines = [f"# {name}"]
    for index in range(source.randrange(120)):
        lines.append(f"option_{index} = {source.getrandbits(source.randrange(8, 90)):x}")
    return ("\n".join(lines) + "\n").encode()
