"""Docker is restarted, killed and stalled in the middle of what people do."""

import collections
import random
import statistics
import time

import page
from invariants import Broken, published, settle, standing
from load import users
from people import DOCKER, Crowd

KINDS = ("restarted", "killed", "stalled")
ANSWERS = 3.0  # seconds in which a listing has to come, whatever Docker does


def play(node, daemon, engine, options):
    chance = random.Random(options.seed)
    crowd = Crowd(node, users(options.people), options.seed)
    crowd.allowed |= {DOCKER}
    times, lists = collections.defaultdict(list), collections.defaultdict(list)
    # Each kind as often as the others, in an order of chance.
    kinds = [KINDS[number % len(KINDS)] for number in range(options.count)]
    chance.shuffle(kinds)
    for number in options.turns:
        kind = kinds[number - 1]
        crowd.work(node, chance.uniform(0, 2.5))
        crowd.trouble.set()
        try:
            lists[kind].append(trouble(node, daemon, kind, chance))
            crowd.rest()
            times[kind].append(settle(node, engine, crowd, timeout=120, rules_left="killed" in kinds[:number]))
        except Broken as error:
            raise Broken(f"number {number}, Docker {kind}: {error}") from None
        print(f"   {number}: {kind}, a listing took {lists[kind][-1]:.2f} s, in order after {times[kind][-1]:.2f} s", flush=True)
    crowd.end()
    live = sum(berth["state"] == "live" for berth in standing(node))
    left = len(published()[0]) - live
    rows = [
        (kind, len(times[kind]), f"{max(lists[kind]):.2f} s", f"{statistics.median(times[kind]):.1f} s, {max(times[kind]):.1f} s")
        for kind in KINDS if times[kind]
    ]  # fmt: skip
    head = ("Docker was", "times", "`berth list` meanwhile, the slowest", "until all was in order after it: median, longest")
    return (
        f"{page.table(head, rows)}\n\n{crowd.done()} commands succeeded, {crowd.count['cut off']} were cut off; no invariant was broken."
        f" What Docker leaves where it is killed: {left} rules that lead a port to a container that is gone."
    )


def trouble(node, daemon, kind, chance):
    """How long a listing took meanwhile."""
    if kind == "stalled":
        daemon.stall()
        time.sleep(chance.uniform(0.5, 15))
        took = listing(node)
        daemon.go_on()
        return took
    (daemon.stop if kind == "restarted" else daemon.kill)()
    time.sleep(chance.uniform(0, 2))
    took = listing(node)
    daemon.start()
    return took


def listing(node):
    began = time.monotonic()
    node.berth("list", "--json")
    took = time.monotonic() - began
    if took > ANSWERS:
        raise Broken(f"`berth list` took {took:.1f} s while Docker did not answer")
    return took
