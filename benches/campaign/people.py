"""People who use the node at the same time, each through the command line, and what each of them was told.

What a command said with exit code 0 is so, whatever happens afterwards. A command that was cut off leaves more than one
thing that may be so; the next look at the node says which."""

import collections
import dataclasses
import json
import random
import subprocess
import threading
import time

DONE, HOST, DOCKER, BUSY = 0, 5, 6, 7
LIMIT = 180  # seconds after which an answer counts as a hang
OPEN = ("creating", "starting", "stopping", "releasing")
# Of what is counted.
NO_COMMAND = ("cut off", "refused", "tickets became berths")
FEW, PATIENCE = 3, 30  # commands, and seconds
MOST_SNAPSHOTS, MOST_TICKETS = 3, 2


@dataclasses.dataclass
class Berth:
    """What is known of one berth: each is a set of what may be so."""

    names: set
    states: set
    sizes: set

    def is_certain(self):
        return len(self.names) == len(self.states) == len(self.sizes) == 1


@dataclasses.dataclass
class Ticket:
    """A request that waits by itself."""

    name: str
    id: int | None
    size: int
    acknowledged: bool
    cancelled: str = "no"  # "maybe", "yes"


class Crowd:
    def __init__(self, node, names, seed):
        self.node = node
        self.running, self.trouble, self.over = threading.Event(), threading.Event(), threading.Event()
        self.idle = threading.Condition()
        self.busy = 0
        self.count = collections.Counter()
        self.wrong = []
        self.allowed = {BUSY}  # exit codes of a refusal that is no mistake
        self.people = [Person(self, name, seed) for name in names]
        for person in self.people:
            threading.Thread(target=person.live, daemon=True).start()

    def rest(self, timeout=LIMIT + 30):
        """Until nobody has a command under way; those that are, end as they do."""
        self.running.clear()
        with self.idle:
            if not self.idle.wait_for(lambda: self.busy == 0, timeout):
                self.wrong.append(f"{self.busy} commands did not end within {timeout} s")

    def go(self):
        self.trouble.clear()
        self.running.set()

    def work(self, node, seconds):
        """Until some of it succeeded and something is begun that has not ended; from then on for so long. A busy machine
        takes its time, and nobody can begin anything where all wait for cards."""
        done = self.done()
        self.go()
        until(lambda: self.done() >= done + FEW or self.wrong)
        until(lambda: node.ledger(f"SELECT 1 FROM berths WHERE state IN {OPEN}"))
        time.sleep(seconds)

    def done(self):
        return sum(value for key, value in self.count.items() if key not in NO_COMMAND)

    def end(self):
        self.over.set()
        self.running.set()

    def enter(self):
        """Whether there is something to do. Counted before the look, so that `rest` sees it."""
        self.running.wait()
        with self.idle:
            if self.over.is_set() or not self.running.is_set():
                return False
            self.busy += 1
            return True

    def leave(self):
        with self.idle:
            self.busy -= 1
            self.idle.notify_all()


def until(is_so):
    deadline = time.monotonic() + PATIENCE
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)


class Person:
    def __init__(self, crowd, name, seed):
        self.crowd, self.name = crowd, name
        self.random = random.Random(f"{seed}/{name}")
        self.berths, self.tickets, self.snapshots = [], [], {}  # a snapshot's name: "there", "maybe"
        self.number = 0

    def live(self):
        while not self.crowd.over.is_set():
            if not self.crowd.enter():
                continue
            try:
                self.act()
            finally:
                self.crowd.leave()
            time.sleep(self.random.uniform(0, 0.3))

    def act(self):
        waiting = [ticket for ticket in self.tickets if ticket.cancelled == "no" and ticket.id is not None]
        if waiting and self.random.random() < 0.2:
            return self.cancel(self.random.choice(waiting))
        if not self.berths or (len(self.berths) < 2 and self.random.random() < 0.15):
            return self.request()
        certain = [berth for berth in self.berths if berth.is_certain()]
        if not certain:
            return None  # it was cut off, and the next look says what came of it
        berth = self.random.choice(certain)
        acts = {"live": LIVE, "stopped": STOPPED}[next(iter(berth.states))]
        act = self.random.choices([act for act, _ in acts], [weight for _, weight in acts])[0]
        return act(self, berth)

    # Each writes down what may be so before it asks, and what is so when it was told.

    def request(self):
        size = self.random.choice([0, 1, 1, 1, 2, 2, 3, 4])
        name = self.new_name("b")
        image = "workspace"
        if self.snapshots and self.random.random() < 0.3:
            image = f"{self.name}/{self.random.choice(sorted(self.snapshots))}"
        words = ["request", "--user", self.name, "--name", name, "--cards", str(size), "--image", image]
        if size and len(self.tickets) < MOST_TICKETS and self.random.random() < 0.2:
            return self.detach(words, name, size)
        if self.random.random() < 0.25:
            words += ["--wait", "3s"]
        berth = Berth({name}, {"live", "gone"}, {size})
        self.berths.append(berth)
        self.learn(self.run(words), berth, states={"live"}, refused={"gone"})

    def detach(self, words, name, size):
        ticket = Ticket(name, None, size, acknowledged=False)
        self.tickets.append(ticket)
        code, out = self.run([*words, "--detach", "--json"])
        if code == DONE:
            ticket.id, ticket.acknowledged = json.loads(out)["id"], True
        elif code is not None:
            self.tickets.remove(ticket)

    def cancel(self, ticket):
        ticket.cancelled = "maybe"
        code, _ = self.run(["cancel", str(ticket.id)], usual={2, 3, BUSY})  # it may have become a berth
        if code == DONE:
            ticket.cancelled = "yes"
        elif code is not None:
            ticket.cancelled = "no"

    def stop(self, berth):
        berth.states = {"live", "stopped"}
        self.learn(self.run(["stop", self.label(berth)]), berth, states={"stopped"}, refused={"live"})

    def start(self, berth):
        berth.states = {"live", "stopped"}
        wait = ["--wait", "3s"] if self.random.random() < 0.25 else []
        self.learn(self.run(["start", self.label(berth), *wait]), berth, states={"live"}, refused={"stopped"})

    def release(self, berth):
        before, berth.states = berth.states, berth.states | {"gone"}
        self.learn(self.run(["release", self.label(berth)]), berth, states={"gone"}, refused=before)

    def rename(self, berth):
        label, before, name = self.label(berth), berth.names, self.new_name("r")
        berth.names = before | {name}
        code, _ = self.run(["rename", label, name])
        if code is not None:
            berth.names = {name} if code == DONE else before

    def resize(self, berth):
        before, size = berth.sizes, self.random.choice([0, 1, 2, 3])
        berth.sizes = before | {size}
        code, _ = self.run(["resize", self.label(berth), "--cards", str(size)])
        if code is not None:
            berth.sizes = {size} if code == DONE else before

    def keep(self, berth):
        self.run(["keep", self.label(berth)], usual={3})  # it was kept often enough

    def renew(self, berth):
        self.run(["renew", self.label(berth)], usual={3})  # once, while somebody waits

    def snapshot(self, berth):
        if len(self.snapshots) >= MOST_SNAPSHOTS or (self.snapshots and self.random.random() < 0.5):
            return self.forget(self.random.choice(sorted(self.snapshots)))
        name = self.new_name("i")
        self.snapshots[name] = "maybe"
        code, _ = self.run(["snapshot", self.label(berth), name])
        if code == DONE:
            self.snapshots[name] = "there"
        elif code is not None:
            del self.snapshots[name]

    def forget(self, name):
        before, self.snapshots[name] = self.snapshots[name], "maybe"
        code, _ = self.run(["image", "remove", f"{self.name}/{name}"], usual={3, BUSY})  # a berth is made of it
        if code == DONE:
            del self.snapshots[name]
        elif code is not None:
            self.snapshots[name] = before

    def learn(self, ran, berth, states, refused):
        code, _ = ran
        if code is not None:
            berth.states = states if code == DONE else refused
        if berth.states == {"gone"}:
            self.berths.remove(berth)

    def label(self, berth):
        return f"{self.name}/{next(iter(berth.names))}"

    def new_name(self, kind):
        self.number += 1
        return f"{kind}{self.number}"

    def run(self, words, usual=frozenset()):
        """Exit code and output; the code is None where it was cut off, so that nobody was told what came of it."""
        crowd = self.crowd
        try:
            done = subprocess.run([*crowd.node.command, *words], capture_output=True, text=True, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            crowd.wrong.append(f"hung: berth {' '.join(words)}")
            return None, ""
        crowd.count[words[0]] += done.returncode == DONE
        if done.returncode == DONE:
            return DONE, done.stdout
        if crowd.trouble.is_set():
            crowd.count["cut off"] += 1
            return None, ""
        if done.returncode in crowd.allowed | usual:
            crowd.count["refused"] += 1
            return done.returncode, ""
        crowd.wrong.append(f"berth {' '.join(words)}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
        return None, ""


LIVE = [(Person.stop, 5), (Person.release, 1), (Person.rename, 1), (Person.keep, 1), (Person.renew, 1), (Person.snapshot, 1)]
STOPPED = [(Person.start, 5), (Person.resize, 2), (Person.release, 1), (Person.rename, 1), (Person.snapshot, 1)]
