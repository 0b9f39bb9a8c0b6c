"""The tools that are compared: how each is installed, makes a vault, backs up one disk image and restores it."""

import json
import os
import shutil
import subprocess

from guest.run import LIB, Failure, need, run

from . import measure

REPOSITORY = os.path.dirname(os.path.dirname(LIB))


class Tool:
    """One tool with one configuration. Its vault and its caches lie below `folder`."""

    name = about = ""
    compared = True  # with Cairn: a peer

    def __init__(self, folder):
        self.folder = os.path.join(folder, self.name)
        self.vault = os.path.join(self.folder, "vault")
        self.env = {}
        self.points = {}

    def begin(self):
        """An empty folder, a fresh vault."""
        self.remove()
        os.makedirs(self.folder)
        self.points = {}
        self.init()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def steps(self):
        """The names of the steps that it takes part in; None: all."""
        return None

    def ask(self, *command):
        return measure.ask(list(command), self.env, self.folder)

    def measured(self, *command):
        return measure.run(list(command), self.env, self.folder)

    def restored(self, target, source):
        """Where the restored disk lies: by default below the target under the path it was backed up from."""
        return os.path.join(target, source.lstrip("/"))


class Restic(Tool):
    name = "restic"
    about = "default compression and chunks; always encrypts"

    def __init__(self, folder):
        super().__init__(folder)
        self.env = {"RESTIC_PASSWORD": "x", "RESTIC_REPOSITORY": self.vault,
                    "RESTIC_CACHE_DIR": os.path.join(self.folder, "cache")}

    def install(self):
        need("restic:restic")
        return run("restic", "version").stdout.split()[1]

    def init(self):
        self.ask("restic", "init")

    def backup(self, step, machine, source):
        done = self.measured("restic", "backup", "--quiet", "--host", machine, source)
        # The newest is the last of the list.
        self.points[step] = json.loads(self.ask("restic", "snapshots", "--json"))[-1]["id"]
        return done

    def restore(self, step, target):
        return self.measured("restic", "restore", "--quiet", self.points[step], "--target", target)


class Rustic(Tool):
    name = "rustic"
    about = "default compression and chunks; always encrypts"

    def __init__(self, folder):
        super().__init__(folder)
        self.env = {"RUSTIC_PASSWORD": "x", "RUSTIC_REPOSITORY": self.vault, "RUSTIC_NO_PROGRESS": "true",
                    "RUSTIC_LOG_LEVEL": "warn", "RUSTIC_CACHE_DIR": os.path.join(self.folder, "cache")}

    def install(self):
        os.environ["PATH"] += ":" + os.path.expanduser("~/.cargo/bin")
        if not shutil.which("rustic"):
            # What it can do besides is left out: it takes long enough to build.
            run("cargo", "install", "--locked", "--no-default-features", "rustic-rs")
        return run("rustic", "--version").stdout.split()[1]

    def init(self):
        self.ask("rustic", "init")

    def backup(self, step, machine, source):
        done = self.measured("rustic", "backup", "--host", machine, source)
        groups = json.loads(self.ask("rustic", "snapshots", "--json"))
        snapshots = [snapshot for group in groups for snapshot in group["snapshots"]]
        self.points[step] = max(snapshots, key=lambda snapshot: snapshot["time"])["id"]
        return done

    def restore(self, step, target):
        return self.measured("rustic", "restore", "--sparse", "by-content", self.points[step], target)


class RusticFixed(Rustic):
    name = "rustic-fixed"
    about = "fixed chunks of 1 MiB instead of its default; always encrypts"

    def init(self):
        self.ask("rustic", "init", "--set-chunker", "fixed_size")


class Borg(Tool):
    name = "borg"
    about = "its fastest: fixed chunks of 4 MiB, holes skipped, zstd level 1, no encryption"

    def __init__(self, folder):
        super().__init__(folder)
        self.env = {"BORG_REPO": self.vault, "BORG_BASE_DIR": os.path.join(self.folder, "home"),
                    "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}

    def install(self):
        need("borg:borgbackup")
        return run("borg", "--version").stdout.split()[1]

    def init(self):
        self.ask("borg", "init", "--encryption", "none")

    def backup(self, step, machine, source):
        self.points[step] = f"{machine}-{step}"
        return self.measured("borg", "create", "--sparse", "--chunker-params", "fixed,4194304", "--compression", "zstd,1",
                             f"::{self.points[step]}", source)

    def restore(self, step, target):
        # It restores below the folder that it is started in.
        return measure.run(["borg", "extract", "--sparse", f"::{self.points[step]}"], self.env, target)


class Cairn(Tool):
    name = "cairn"
    about = "default compression, no encryption"
    compared = False
    binary = None
    init_options = ("--encryption", "none")

    def __init__(self, folder):
        super().__init__(folder)
        self.env = {"CAIRN_VAULT": self.vault, "HOME": os.path.join(self.folder, "home"), "CAIRN_PASSPHRASE": "x",
                    "CAIRN_STATE_DIR": os.path.join(self.folder, "state"), "CAIRN_CONFIG_DIR": os.path.join(self.folder, "config")}

    def install(self):
        if not Cairn.binary:
            run("cargo", "build", "--release", "--locked", "--manifest-path", os.path.join(REPOSITORY, "Cargo.toml"))
            metadata = json.loads(run("cargo", "metadata", "--no-deps", "--format-version", "1", "--manifest-path",
                                      os.path.join(REPOSITORY, "Cargo.toml")).stdout)
            Cairn.binary = os.path.join(metadata["target_directory"], "release", "cairn")
        return run(Cairn.binary, "--version").stdout.split()[1]

    def init(self):
        self.ask(self.binary, "init", *self.init_options)

    def backup(self, step, machine, source):
        done = self.measured(self.binary, "--quiet", "backup", machine, "--disk", f"sda={source}")
        points = json.loads(self.ask(self.binary, "points", machine, "--all", "--json"))
        newest = max(points, key=lambda point: (point["time"], point.get("sequence", 0)))
        self.points[step] = newest["id"]
        return done

    def restore(self, step, target):
        # The peers do not wait until restored files are on the disk; Cairn does, as it does for everybody.
        return self.measured(self.binary, "--quiet", "restore", self.points[step], "--disk", "sda",
                             "--to", os.path.join(target, "sda.raw"))

    def restored(self, target, source):
        return os.path.join(target, "sda.raw")

    def open_seconds(self):
        """What opening the vault costs, above all deriving the key: the listing does little else."""
        return min(self.measured(self.binary, "points", "--all", "--json").wall for _ in range(3))

    def bench(self, image):
        """The limits of this machine on the data of an image."""
        return json.loads(self.ask(self.binary, "bench", "--json", "--data", image, "--sample-mib", "1024", "--dir", self.folder))


class CairnFast(Cairn):
    name = "cairn-1"
    about = "--compression 1, no encryption; the first backup only"
    init_options = ("--encryption", "none", "--compression", "1")

    def steps(self):
        return ["first"]


class CairnEncrypted(Cairn):
    name = "cairn-enc"
    about = "default compression, encrypted with a passphrase"
    init_options = ("--encryption", "passphrase")


ALL = {tool.name: tool for tool in (Restic, Borg, Rustic, RusticFixed, Cairn, CairnFast, CairnEncrypted)}
DEFAULT = ["restic", "borg", "rustic", "cairn", "cairn-1", "cairn-enc"]


def make(names, folder):
    """The tools that could be installed, and for each of the others why not: ([(tool, version)], {name: reason})."""
    tools, missing = [], {}
    for name in names:
        if name not in ALL:
            raise Failure(f"no tool named {name!r}; there are {', '.join(ALL)}")
        tool = ALL[name](folder)
        try:
            tools.append((tool, tool.install()))
        except (Failure, OSError, subprocess.SubprocessError) as error:
            missing[name] = str(error).strip().splitlines()[-1]
    return tools, missing
