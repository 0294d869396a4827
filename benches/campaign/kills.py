"""The agent is killed with -9 at random moments, while people do everything that they can do."""

import collections
import random
import signal
import statistics

import crash
import overlap
import page
from engine import Watcher
from invariants import Broken, log_in, nobody_waits, settle, standing
from load import users
from people import NO_COMMAND, OPEN, Crowd

PLANT_EVERY = 10


def play(node, daemon, engine, options):
    chance = random.Random(options.seed)
    last = max((berth["id"] for berth in node.berths()), default=0)
    watcher = Watcher(engine, node.dev)
    crowd = Crowd(node, users(options.people), options.seed)
    image = node.image()
    met, times, logins = collections.Counter(), [], 0
    for kill in options.turns:
        moment = chance.uniform(0, 2.5)
        crowd.work(node, moment)
        open_ = cut(node, crowd)
        met.update(open_)
        planted = crash.plant(node, engine, image) if kill % PLANT_EVERY == 1 else None
        node.start_agent()
        crowd.rest()  # what was under way has ended by now, or goes on with the next agent
        try:
            times.append(settle(node, engine, crowd, planted))
            if planted and not crash.reported(node, engine, planted):
                raise Broken(f"container {planted} was not reported, or not left alone")
            logins += somebody_logs_in(node, chance)
        except Broken as error:
            raise Broken(f"kill {kill}, {moment:.2f} s after something was begun, {dict(open_)} open: {error}") from None
        if planted:
            engine.remove(planted)
        if kill % 5 == 0:
            print(f"   {kill} kills, {sum(met.values())} open intents, in order after {statistics.median(times):.2f} s, {dict(crowd.count)}", flush=True)
    crowd.end()
    nobody_waits(node)
    no_card_twice(node, watcher, last)
    watcher.close()
    return told(crowd, met, times, logins)


def cut(node, crowd):
    """Kills the agent; what it had begun and not ended, by its state in the ledger."""
    crowd.trouble.set()
    crowd.running.clear()
    node.stop_agent(signal.SIGKILL)
    open_ = collections.Counter(berth["state"] for berth in standing(node) if berth["state"] in OPEN)
    for table, condition in [("snapshots", "state <> 'ready'"), ("moves", "TRUE"), ("tickets", "request IS NULL")]:
        open_[table] = node.ledger(f"SELECT count(*) AS n FROM {table} WHERE {condition}")[0]["n"]
    return +open_


def somebody_logs_in(node, chance):
    """The owner of one live berth."""
    live = [berth for berth in standing(node) if berth["state"] == "live"]
    if live:
        log_in(node, chance.choice(live))
    return bool(live)


def no_card_twice(node, watcher, last):
    """Over the whole time, by what the ledger says and by what Docker did."""
    held = [
        (row["card"], overlap.parse(row["since"]), overlap.parse(row["until"]) if row["until"] else overlap.now(), f"berth {row['berth']}")
        for row in node.ledger(f"SELECT berth, card, since, until FROM holdings WHERE berth > {last}")
    ]
    found = overlap.overlaps(held) + overlap.in_docker(watcher.seen, node.instance())
    if found:
        raise Broken(f"cards in two places at once: {found[:10]}")


def told(crowd, met, times, logins):
    done = {key: value for key, value in crowd.count.items() if key not in NO_COMMAND}
    rows = [
        ("kills", len(times)),
        ("intents that were open at a kill", sum(met.values())),
        *((f"of them {key}", value) for key, value in sorted(met.items())),
        ("commands that succeeded", sum(done.values())),
        *((f"of them `{key}`", value) for key, value in sorted(done.items())),
        ("commands that were cut off", crowd.count["cut off"]),
        ("refused, as nothing was free or it was in use", crowd.count["refused"]),
        ("tickets of `--detach` that became berths", crowd.count["tickets became berths"]),
        ("until all was in order after the next start: median, longest", f"{statistics.median(times):.2f} s, {max(times):.2f} s"),
        ("logins after a kill, all let in", logins),
        ("invariants that did not hold", 0),
    ]
    return page.table(("what", "number"), rows)
