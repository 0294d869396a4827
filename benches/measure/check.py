"""`berth check` with tools that take their time: the whole against the slowest probe."""

import json
import statistics
import time

from table import spread, verdict

DELAYS = ("300ms", "2s")
LIMIT = 1.2
ROUNDS = 5


def measure(node, engine, table, options):
    for delay in DELAYS:
        node.berth("sim", "fault", "--delay", delay)
        try:
            wholes, slowest = [], []
            for round_ in range(ROUNDS + 1):
                whole, probe = timed(node)
                if round_:
                    wholes.append(whole)
                    slowest.append(probe)
        finally:
            node.berth("sim", "clear")
        # Of pairs: both times of one run.
        ratio = statistics.median(whole / probe for whole, probe in zip(wholes, slowest))
        table.add(
            f"`berth check`, npu-smi takes {delay}: the whole and its slowest probe", spread(wholes), spread(slowest),
            f"{ratio:.2f}, at most {LIMIT}", verdict(ratio <= LIMIT), ratio=ratio, samples={"whole": wholes, "slowest": slowest},
        )


def timed(node):
    """The time of the process as its caller sees it, and of its slowest probe."""
    began = time.monotonic()
    done = node.berth("check", "--json", check=False)
    whole = time.monotonic() - began
    report = json.loads(done.stdout)
    if done.returncode not in (0, 4):
        raise RuntimeError(f"berth check: exit {done.returncode}: {done.stderr.strip()}")
    slowest = max(report["probes"], key=lambda probe: probe["ms"])
    return whole, slowest["ms"] / 1000
