"""The closing table: one row a number, with what was asked for and whether it was reached."""

import json
import statistics

OK, MISSED, FAILED, INFO = "ok", "MISSED", "FAILED", "-"
HEAD = ("what", "berth", "docker", "ratio/limit", "verdict")


class Table:
    def __init__(self, head=HEAD):
        self.head = head
        self.rows = []
        self.records = []

    def add(self, what, berth, docker="", limit="", verdict=INFO, **record):
        """Keyword arguments go into the JSON file as they are."""
        self.rows.append((what, berth, docker, limit, verdict))
        self.records.append({"what": what, "berth": berth, "docker": docker, "limit": limit, "verdict": verdict} | record)
        print("   " + "  ".join(part for part in self.rows[-1] if part), flush=True)

    def must(self, what, count, limit="0", **record):
        """Correctness: anything but none of it is a failure of the whole run."""
        self.add(what, str(count), "", limit, OK if count == 0 else FAILED, **record)

    @property
    def failed(self):
        return any(row[-1] == FAILED for row in self.rows)

    def text(self):
        widths = [max(len(row[i]) for row in [self.head, *self.rows]) for i in range(len(self.head))]
        lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [self.head, *self.rows]]
        return "\n".join([lines[0], "-+-".join("-" * width for width in widths), *lines[1:]])

    def write(self, path, about):
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"schema": 1, "about": about, "rows": self.records}, file, indent=1)
            file.write("\n")


def verdict(reached):
    return OK if reached else MISSED


def ms(seconds):
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def spread(samples):
    """Median, and between which values nine of ten samples lie."""
    ordered = sorted(samples)
    low, high = ordered[round((len(ordered) - 1) * 0.05)], ordered[round((len(ordered) - 1) * 0.95)]
    return f"{ms(statistics.median(ordered))} ({low * 1000:.0f}..{high * 1000:.0f})"
