"""The agent's clock is set by up to a year, back and forth. No lease ends by it, no berth is released, no ticket lost."""

import json
import random
import signal
import time

import overlap
import page
from invariants import Broken, settle, standing
from people import Berth, Crowd, Ticket

YEAR = 365 * 86400
NOTICED = 60  # seconds in which the agent has to have seen it: it looks every ten
JITTER = 120  # seconds by which an end may differ from what it was, on a clock that was not set
OWNER = "bench-0"


def play(node, daemon, engine, options):
    if not is_debug(node):
        raise Broken("this berth is a release build, whose clock cannot be set; the part `clock` needs a debug build")
    chance = random.Random(options.seed)
    crowd = Crowd(node, [OWNER], options.seed)  # one who is told, and does nothing
    people(node, crowd.people[0])
    settle(node, engine, crowd)
    began = ends(node)
    jumps, kills, shift = [], 0, 0
    for number in options.turns:
        # Each of the far ends comes first.
        target = {1: YEAR, 2: -YEAR}.get(number, chance.randint(-YEAR, YEAR))
        dead = chance.random() < 0.3
        try:
            if dead:
                node.stop_agent(signal.SIGKILL)
                kills += 1
            set_clock(node, target)
            if dead:
                node.start_agent()
            moved(node, began, target)
            settle(node, engine, crowd)
        except Broken as error:
            raise Broken(f"number {number}, set from {shift / 86400:.1f} to {target / 86400:.1f} days, dead meanwhile: {dead}: {error}") from None
        jumps.append(abs(target - shift))
        shift = target
        print(f"   {number}: {target / 86400:+.1f} days", flush=True)
    set_clock(node, 0)
    moved(node, began, 0)
    crowd.end()
    told = node.ledger("SELECT count(*) AS n FROM events WHERE kind = 'leases.moved'")[0]["n"]
    rows = [
        ("times that the clock was set", len(jumps)),
        ("the longest jump", f"{max(jumps) / 86400:.0f} days"),
        ("of them while the agent was dead", kills),
        ("events `leases.moved`", told),
        ("berths that were stopped or released, tickets lost, ends that moved against the clock", 0),
    ]
    return page.table(("what", "number"), rows)


def is_debug(node):
    """A release build has no such variable."""
    return b"BERTH_CLOCK_SHIFT" in (node.dir / "berth").read_bytes()


def set_clock(node, seconds):
    """The file is replaced, so that nobody reads half of it."""
    part = node.dir / "clock-shift.part"
    part.write_text(f"{seconds}\n")
    part.rename(node.dir / "clock-shift")


def people(node, person):
    """A berth that lives, one that is kept, one that ends with its lease, and a request that waits for the others."""
    for name, more in [("lives", []), ("kept", []), ("ends", ["--unattended", "--lease", "2h"])]:
        node.berth("request", "--user", OWNER, "--name", name, "--cards", "2", "--image", "workspace", *more)
        person.berths.append(Berth({name}, {"live"}, {2}))
    node.berth("stop", f"{OWNER}/kept")
    person.berths[1].states = {"stopped"}
    ticket = json.loads(node.berth("request", "--user", OWNER, "--name", "waits", "--cards", "8", "--image", "workspace", "--detach", "--json").stdout)
    person.tickets.append(Ticket("waits", ticket["id"], 8, acknowledged=True))


def ends(node):
    """When each berth ends or is released, in seconds."""
    rows = node.ledger("SELECT name, state, until, kept_until FROM berths WHERE state IN ('live', 'stopped')")
    return {row["name"]: overlap.parse(row["until"] if row["state"] == "live" else row["kept_until"]).timestamp() for row in rows}


def moved(node, began, shift):
    """Waits until every end is as far away as it was."""
    deadline = time.monotonic() + NOTICED
    while True:
        now = ends(node)
        if now.keys() != began.keys():
            raise Broken(f"berths were {sorted(began)}, and are {sorted(now)}: {[b['state'] for b in standing(node)]}")
        wrong = {name: now[name] - began[name] - shift for name in began if not -JITTER <= now[name] - began[name] - shift <= JITTER}
        if not wrong:
            return
        if time.monotonic() > deadline:
            raise Broken(f"ends are wrong by seconds: {wrong}")
        time.sleep(0.2)
