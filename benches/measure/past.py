"""`berth list` where the ledger has a million events of the past, against one that has few."""

import contextlib
import shutil
import sqlite3
import statistics

from listing import timed
from node import OWNER
from table import spread, verdict

EVENTS = 1_000_000
LIMIT = 1.5


def measure(node, engine, table, options):
    before = times(node, options.n)
    with a_million_events(node):
        after = times(node, options.n)
    ratio = statistics.median(after) / statistics.median(before)
    few = node.ledger("SELECT count(*) AS n FROM events")[0]["n"]
    table.add(
        f"`berth list`, {EVENTS:,} more events in the ledger, and {few}", spread(after), spread(before),
        f"{ratio:.2f}, at most {LIMIT}", verdict(ratio <= LIMIT), ratio=ratio, samples={"before": before, "after": after},
    )  # fmt: skip


def times(node, count):
    node.berth("request", "--user", OWNER, "--name", "past", "--cards", "1", "--image", "workspace")
    node.settle()
    samples = [timed([*node.command, "list"]) for _ in range(2 * count + 1)][1:]
    node.berth("release", f"{OWNER}/past")
    return samples


@contextlib.contextmanager
def a_million_events(node):
    """Events are never removed, so the ledger that was there is put back."""
    ledger, aside = node.dir / "state/ledger.db", node.dir / "ledger.aside"
    node.stop_agent()
    fold(ledger)
    shutil.copy2(ledger, aside)
    rows = (
        ("2026-01-01T00:00:00Z", ("berth.live", "ssh.login", "berth.released", "ssh.end")[number % 4], OWNER, OWNER, f"past-{number % 1000}",
         f"what happened to bench/past-{number % 1000}, number {number}") for number in range(EVENTS)
    )  # fmt: skip
    connection = sqlite3.connect(ledger)
    with connection:
        connection.executemany("INSERT INTO events (at, kind, actor, owner, berth, text) VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    fold(ledger)
    node.start_agent()
    try:
        yield
    finally:
        node.stop_agent()
        fold(ledger)
        aside.rename(ledger)
        node.start_agent()


def fold(ledger):
    """Nothing of it is in a file beside it."""
    connection = sqlite3.connect(ledger)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    for end in ("-wal", "-shm"):
        ledger.with_name(ledger.name + end).unlink(missing_ok=True)
