"""A card that somebody took with plain Docker: when `berth cards` names the holder, and when the event is told."""

import json
import os
import statistics
import subprocess
import threading
import time

from table import spread, verdict

CARD = 3
LIMIT = 1.0


def measure(node, engine, table, options):
    follower = Follower(node)
    try:
        device = ["--device", f"{node.dev}/davinci{CARD}"]
        report(table, "`docker run --device …/davinci3`", [once(node, engine, follower, device) for _ in range(options.n)])
        rule = ["--device-cgroup-rule", f"c {card_major(node)}:* rwm"]
        report(table, "`docker run --device-cgroup-rule`", [once(node, engine, follower, rule) for _ in range(options.n)])
        how = privileged(node, engine)
        if how:
            # It holds every card on this machine while it lives, so there are fewer of them.
            report(table, f"`docker run {' '.join(how)}`", [once(node, engine, follower, how) for _ in range(min(options.n, 5))])
        else:
            table.add("`docker run --privileged` shows", "not measured", "", "this machine does not allow it", "SKIPPED")
    finally:
        follower.close()


def report(table, what, samples):
    for index, where in enumerate(["shows in `berth cards`", "`card.taken` in `berth events --follow`"]):
        times = [sample[index] for sample in samples]
        worst = max(times)
        table.add(
            f"{what} {where}", f"{spread(times)}, worst {worst * 1000:.0f} ms", "", "at most 1 s after its start",
            verdict(worst <= LIMIT), samples=times, median=statistics.median(times),
        )


def once(node, engine, follower, how):
    """Seconds after the container's start until the listing, and until the event, named it."""
    name = f"bench-foreign-{time.monotonic_ns()}"
    settled_free(node)
    try:
        container = run(node, engine, name, how)
        shown = until(lambda: held_by(node, name))
        told = until(lambda: follower.told_at(name))
        started = started_at(engine, container)
    finally:
        engine.remove(name)
    return shown - started, told - started


def run(node, engine, name, how):
    return engine.docker("run", "-d", "--network", "none", "--name", name, *how, node.image(), "/bin/sleep", "600")


def privileged(node, engine):
    """Options of a privileged container. Inside some virtual machines root itself lacks a capability that it would
    have to give; the engine that the scripts start has a runtime `rig` for that."""
    rig = "rig" in engine.get("/info")["Runtimes"]
    for how in [["--privileged"], ["--privileged", "--runtime", "rig"]][: 2 if rig else 1]:
        try:
            run(node, engine, "bench-privileged", how)
            return how
        except RuntimeError:
            pass
        finally:
            engine.remove("bench-privileged")
    return None


def card_major(node):
    return os.major(os.stat(node.dev / f"davinci{CARD}").st_rdev)


def settled_free(node):
    until(lambda: not holders(node))
    node.settle()


def until(condition, timeout=30):
    """The condition's own time if it gives one, else the time when it was first true."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if found := condition():
            return time.time() if found is True else found
        time.sleep(0.005)
    raise RuntimeError("it never showed")


def holders(node):
    cards = node.json("cards")["cards"]
    return next(card["holders"] for card in cards if card["id"] == CARD)


def held_by(node, name):
    return any(holder.get("name") == name for holder in holders(node))


def started_at(engine, container):
    text = engine.inspect(container)["State"]["StartedAt"]
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(f"0.{fraction or 0}")


class Follower:
    """Reads `berth events --follow` and notes when each line came."""

    def __init__(self, node):
        self.lines = []
        self.process = subprocess.Popen([*node.command, "events", "--follow", "--json"], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            event = json.loads(line)
            if event["kind"] == "card.taken":
                self.lines.append((time.time(), event["text"]))

    def told_at(self, name):
        return next((at for at, text in self.lines if name in text), None)

    def close(self):
        self.process.kill()
        self.process.wait()
