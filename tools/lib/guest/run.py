"""Runs the system's own tools and installs those that are missing. Knows nothing of disks."""

import os
import subprocess
import sys

LIB = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Debian keeps mkfs and sfdisk in sbin, which an ordinary user's PATH lacks.
os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"


class Failure(Exception):
    """Something the user can act on; printed as one line."""


def need(*wanted):
    """Each is COMMAND:PACKAGE, see install.sh."""
    if subprocess.run([os.path.join(LIB, "install.sh"), *wanted]).returncode != 0:
        raise Failure("a needed program is missing (see above)")


def run(*command, env=None, stdin=None, may_fail=False):
    """Runs one command and returns its output; a failure shows what the command said."""
    done = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        **({} if stdin is not None else {"stdin": subprocess.DEVNULL}),
    )
    if done.returncode != 0 and not may_fail:
        raise Failure(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr.strip()}")
    return done


def parse_size(text):
    """'300M' to bytes: K, M, G, T are powers of 1024."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
    number, factor = (text[:-1], units[text[-1].upper()]) if text[-1:].upper() in units else (text, 1)
    try:
        size = int(float(number) * factor)
    except ValueError:
        raise Failure(f"not a size: {text!r} (examples: 4096, 64M, 1.5G)") from None
    if size < 0:
        raise Failure(f"a size cannot be negative: {text}")
    return size


def say(text):
    print(text, file=sys.stderr, flush=True)


def allocated(path):
    """Bytes the file really takes on disk."""
    return os.stat(path).st_blocks * 512
