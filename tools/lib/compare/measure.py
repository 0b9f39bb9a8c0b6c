"""Measures one command: wall time, CPU time, peak memory; and the size of a vault. Knows no tool."""

import os
import subprocess
import sys

from guest.run import Failure


class Measured:
    """wall and cpu in seconds (user and system together, of all processes); rss_bytes of the largest process."""

    def __init__(self, wall, cpu, rss_bytes, output):
        self.wall, self.cpu, self.rss_bytes, self.output = wall, cpu, rss_bytes, output


# A process begins with the peak memory of the one that starts it, so that one must be small: this, in a bare Python.
_SPAWN = """
import os, sys, time
result, command = int(sys.argv[1]), sys.argv[2:]
os.set_inheritable(result, False)
started = time.monotonic()
child = os.posix_spawnp(command[0], command, os.environ)
_, status, used = os.wait4(child, 0)
wall = time.monotonic() - started
os.write(result, b"%d %.6f %.6f %d" % (
    os.waitstatus_to_exitcode(status), wall, used.ru_utime + used.ru_stime, used.ru_maxrss))
"""


def run(command, env, folder):
    """Runs a command to its end; what it uses is counted with all its children that it waited for."""
    reader, writer = os.pipe()
    log_path = os.path.join(folder, "log")
    with open(log_path, "w+", encoding="utf-8", errors="replace") as log, os.fdopen(reader) as result:
        helper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _SPAWN, str(writer), *command], stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, cwd=folder, env={**os.environ, **env}, pass_fds=[writer])
        os.close(writer)
        told = result.read().split()
        helper.wait()
        log.seek(0)
        output = log.read()
    if len(told) != 4 or told[0] != "0":
        raise Failure(f"{' '.join(command)}: exit {told[0] if told else 'unknown'}\n{output[-2000:]}")
    return Measured(float(told[1]), float(told[2]), int(told[3]) * 1024, output)


def ask(command, env, folder):
    """The standard output of a command that is not measured."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=folder,
                          env={**os.environ, **env})
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def tree_size(folder):
    """The lengths of all files below a folder together."""
    return sum(os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(folder) for name in names)


def warm(path):
    """Reads the data of a file once, so that it lies in the page cache; returns how many bytes are no holes."""
    total = 0
    with open(path, "rb", buffering=0) as file:
        end, position = os.fstat(file.fileno()).st_size, 0
        while position < end:
            try:
                position = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            stop = os.lseek(file.fileno(), position, os.SEEK_HOLE)
            total += stop - position
            while position < stop:
                position += len(os.pread(file.fileno(), min(1 << 22, stop - position), position))
    return total
