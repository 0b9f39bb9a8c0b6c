"""Figures and ratios as tables of text. Pure: takes what was measured, gives lines."""

from statistics import median

from .steps import BACKUPS, STEPS

MIB = 1 << 20
# The fastest peer's time over Cairn's, at least.
SPEED_TARGETS = {"first": 1.2, "next day": 3, "page writes": 3, "unchanged": 4, "second machine": 2, "XFS twin": 4,
                 "restore first": 4, "restore latest": 4, "restore second": 4, "restore XFS": 4}
SIZE_TARGET = 0.65
FAST_FIRST_TARGET = 1.7
ENCRYPTION_TARGET = 1.10
MEMORY_TARGET_MIB = 400
# Share of the limit that `cairn bench` measures: (what, step, its field, target).
LIMITS = [("first backup", "first", "first_backup_bytes_per_second", 0.75),
          ("rescan", "unchanged", "rescan_bytes_per_second", 0.75),
          ("restore", "restore first", "restore_bytes_per_second", 0.70)]


class Figures:
    """Medians over the runs."""

    def __init__(self, figures, peers):
        self.figures, self.peers = figures, peers

    def get(self, tool, step, field="wall_seconds"):
        runs = self.figures.get(tool, {}).get(step)
        return median(run[field] for run in runs) if runs else None

    def best_peer(self, step, field="wall_seconds"):
        """(value, name) of the best peer, or None."""
        values = [(self.get(peer, step, field), peer) for peer in self.peers]
        values = [value for value in values if value[0] is not None]
        return min(values) if values else None


def table(rows):
    """Rows of strings, the first column to the left, the others to the right; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    def line(row):
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        return "  ".join(cells).rstrip()
    return [line(rows[0]), "  ".join("-" * width for width in widths)] + [line(row) for row in rows[1:]]


def figure_tables(figures, tools):
    """One table for each of what was measured, steps against tools."""
    lines = []
    for title, field, scale, form in (
            ("wall time, s", "wall_seconds", 1, "{:.2f}"),
            ("CPU time (user and system), s", "cpu_seconds", 1, "{:.2f}"),
            ("peak memory of the largest process, MiB", "rss_bytes", MIB, "{:.0f}"),
            ("size of the vault after the step, MiB", "vault_bytes", MIB, "{:.1f}")):
        rows = [[title, *tools]]
        for step in STEPS:
            if field == "vault_bytes" and step not in [backup[0] for backup in BACKUPS]:
                continue
            values = [figures.get(tool, step, field) for tool in tools]
            rows.append([step] + ["-" if value is None else form.format(value / scale) for value in values])
        lines += table(rows) + [""]
    return lines


def _row(what, other, cairn, ratio, target, met):
    return [what, other, cairn, ratio, target, "pass" if met else "FAIL"]


def _speed(figures, what, step, tool, target):
    best, own = figures.best_peer(step), figures.get(tool, step)
    if best is None or own is None:
        return None
    ratio = best[0] / own
    return _row(what, f"{best[1]} {best[0]:.2f} s", f"{own:.2f} s", f"{ratio:.2f}", f">= {target}", ratio >= target)


def _size(figures):
    last = BACKUPS[-1][0]
    best, own = figures.best_peer(last, "vault_bytes"), figures.get("cairn", last, "vault_bytes")
    if best is None or own is None:
        return None
    ratio = own / best[0]
    return _row("vault after all backups", f"{best[1]} {best[0] / MIB:.0f} MiB", f"{own / MIB:.0f} MiB", f"{ratio:.3f}",
                f"<= {SIZE_TARGET}", ratio <= SIZE_TARGET)


def _memory(figures):
    peaks = [figures.get("cairn", step, "rss_bytes") for step in STEPS]
    peaks = [peak for peak in peaks if peak is not None]
    if not peaks:
        return None
    peak = max(peaks) / MIB
    return _row("peak memory", "", f"{peak:.0f} MiB", "", f"< {MEMORY_TARGET_MIB} MiB", peak < MEMORY_TARGET_MIB)


def _encryption(figures, open_seconds):
    """Plain and encrypted over all backups, the cost of opening the vault taken off both."""
    total = {"cairn": 0.0, "cairn-enc": 0.0}
    for step, _, _ in BACKUPS:
        for tool in total:
            own = figures.get(tool, step)
            if own is None or tool not in open_seconds:
                return None
            total[tool] += own - open_seconds[tool]
    ratio = total["cairn-enc"] / total["cairn"]
    return _row("all backups, encrypted to plain", f"plain {total['cairn']:.2f} s", f"{total['cairn-enc']:.2f} s",
                f"{ratio:.3f}", f"<= {ENCRYPTION_TARGET:.2f}", ratio <= ENCRYPTION_TARGET)


def _limits(figures, bench, data_bytes):
    """Cairn's rates as a share of what `cairn bench` says this machine could do in memory."""
    rows = []
    limits = (bench or {}).get("limits", {})
    images = {step: image for step, image, _ in BACKUPS} | {"restore first": "day0"}
    for what, step, field, target in LIMITS:
        own, limit, data = figures.get("cairn", step), limits.get(field), data_bytes.get(images[step])
        if own is None or not limit or not data:
            continue
        rate = data / own
        share = rate / limit
        rows.append(_row(f"{what}, share of the limit", f"limit {limit / 1e9:.2f} GB/s", f"{rate / 1e9:.2f} GB/s",
                         f"{share:.2f}", f">= {target:.2f}", share >= target))
    return rows


def ratio_rows(figures, open_seconds, bench, data_bytes):
    """The targets, each with what was reached: rows of strings."""
    rows = [_size(figures)]
    rows += [_speed(figures, step, step, "cairn", target) for step, target in SPEED_TARGETS.items()]
    rows.append(_speed(figures, "first, --compression 1", "first", "cairn-1", FAST_FIRST_TARGET))
    rows.append(_encryption(figures, open_seconds))
    rows.append(_memory(figures))
    rows += _limits(figures, bench, data_bytes)
    return [row for row in rows if row is not None]


def ratio_table(rows):
    return table([["target", "best peer or limit", "cairn", "ratio", "wanted", ""]] + rows)
