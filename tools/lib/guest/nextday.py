"""The next day of a machine: what changes (plan, pure) and changing it in an image."""

import os
import shutil
import tempfile

from . import content, edit, pool, tree
from .run import Failure, run

DAY = 86400


class Amounts:
    """How much of what changes; None means the usual share of the machine's data. Sizes in bytes."""

    def __init__(self, added=None, grown=None, copied=None, deleted=None, pages=None):
        self.added, self.grown, self.copied, self.deleted, self.pages = added, grown, copied, deleted, pages

    def settled(self, data, db_pages):
        def usual(value, share):
            return int(data * share) if value is None else value
        return Amounts(usual(self.added, 0.06), usual(self.grown, 0.015), usual(self.copied, 0.03),
                       usual(self.deleted, 0.02), max(db_pages // 50, 1) if self.pages is None else self.pages)


def _up_to(rows, size):
    """The first rows that together have at most `size` bytes."""
    chosen = []
    for row in rows:
        if row[1] <= size:
            size -= row[1]
            chosen.append(row)
    return chosen


def _deletions(rows, seed, size):
    system = [row for row in rows if row[0] == "system"]
    return _up_to(sorted(system, key=lambda row: content.rank(f"{seed} delete", row[2])), size)


def _copies(rows, seed, size):
    """A run of files that lie together, as in a tree that somebody copies."""
    system = [row for row in rows if row[0] == "system"]
    start = content.stream(seed, "copy").randrange(len(system)) if system else 0
    return _up_to(system[start:] + system[:start], size)


def _page_writes(seed, path, size, count):
    total = size // content.PAGE
    if count > total:
        raise Failure(f"/{path} has only {total} pages")
    source = content.stream(seed, "pages")
    return [(number, content.db_page(source, number)) for number in source.sample(range(total), count)]


def apply(image, seed, amounts, via="auto"):
    """Changes the image in place and returns a summary line."""
    work = tempfile.mkdtemp(prefix=".mkguest-", dir=os.path.dirname(os.path.abspath(image)))
    try:
        with edit.open_image(image, via) as disk:
            return _change(disk, seed, amounts, work)
    finally:
        shutil.rmtree(work)


def _change(disk, seed, amounts, work):
    disk.read(tree.INVENTORY, f"{work}/inventory")
    with open(f"{work}/inventory", encoding="ascii") as text:
        rows = tree.parse_inventory(text.read())
    db_size = sum(size for kind, size, _ in rows if kind == "db")
    amounts = amounts.settled(sum(size for kind, size, _ in rows if kind != "sparse"), db_size // content.PAGE)
    now = content.LAST_SECOND + DAY
    new = []

    gone = _deletions(rows, seed, amounts.deleted)
    for row in gone:
        disk.delete(row[2])
    rows = [row for row in rows if row not in set(gone)]

    copies = _copies(rows, seed, amounts.copied)
    for index, (_, _, path) in enumerate(copies):
        disk.read(path, f"{work}/copy-{index}")
    for index, (_, size, path) in enumerate(copies):
        target = f"srv/copy-{seed}/{path}"
        disk.put(target, f"{work}/copy-{index}", 0o644, now)
        new.append(("system", size, target))

    known = {path for _, _, path in rows} | {row[2] for row in gone}
    for source, path, size, mode in pool.choose(seed, amounts.added, without=known) if amounts.added else []:
        disk.put(path, source, mode, now)
        new.append(("system", size, path))

    logs = [row for row in rows if row[0] == "log"]
    for kind, size, path in logs if amounts.grown else []:
        data = b"".join(content.log_lines(content.stream(seed, path), amounts.grown // len(logs) + 1))
        disk.append(path, data, now)
        new.append((kind, size + len(data), path))
        rows.remove((kind, size, path))

    if amounts.pages:
        disk.write_pages(tree.DATABASE, _page_writes(seed, tree.DATABASE, db_size, amounts.pages), now)

    with open(f"{work}/inventory", "w", encoding="ascii") as out:
        out.write(tree.inventory_text(rows + new))
    disk.delete(tree.INVENTORY)
    disk.put(tree.INVENTORY, f"{work}/inventory", 0o644, now)
    added = sum(size for kind, size, _ in new if kind == "system")
    return (f"{len(new)} files new or grown ({added >> 20} MiB of files), {len(gone)} deleted, "
            f"{amounts.pages} database pages rewritten")


def derive(image, to, seed, amounts, via="auto"):
    """Leaves the image alone; `to` appears only when it is complete. Shares blocks where the filesystem can."""
    part = f"{to}.part"
    try:
        run("cp", "--reflink=auto", "--sparse=always", image, part)
        summary = apply(part, seed, amounts, via)
        os.replace(part, to)
        return summary
    finally:
        if os.path.exists(part):
            os.unlink(part)
