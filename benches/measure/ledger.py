"""How many claims and releases the ledger takes beside what its disk takes: a program of its own, benches/ledger."""

import json
import os
import shutil
import subprocess

from table import INFO, verdict

LIMIT = 0.6
WHAT = "ledger: changes a second, and `fdatasync` of as many bytes; claims and releases"


def measure(node, engine, table, options):
    if shutil.which("cargo") is None:
        table.add(WHAT, "SKIPPED: cargo builds it, and is not there", verdict=INFO)
        return
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = ["cargo", "bench", "--quiet", "--locked", "--bench", "ledger", "--", "--dir", str(node.dir)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    numbers = json.loads(done.stdout.splitlines()[-1])
    table.add(
        WHAT, f"{numbers['changes']:.0f} and {numbers['syncs']:.0f}; {numbers['claims_and_releases']:.0f}", "",
        f"{numbers['ratio']:.2f}, at least {LIMIT}", verdict(numbers["ratio"] >= LIMIT), **numbers,
    )
