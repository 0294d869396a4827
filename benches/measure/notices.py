"""How soon a warning about a lease shows in every one of many open terminals."""

import calendar
import json
import os
import selectors
import subprocess
import time

from node import OWNER
from table import ms, spread, verdict

NAME = "notices"
TERMINALS = 50
LEASE = "60s"  # the agent warns when a quarter of it is left, at its next look at leases
LIMIT = 1.0


def measure(node, engine, table, options):
    view = node.json("request", "--user", OWNER, "--name", NAME, "--cards", "1", "--image", "workspace", "--lease", LEASE)
    terminals = [Terminal(node, view) for _ in range(TERMINALS)]
    try:
        wait(terminals, lambda terminal: b"ready" in terminal.shown, 120)
        every, last = [], []
        for round_ in range(1, options.warnings + 1):
            node.berth("renew", f"{OWNER}/{NAME}", "--lease", LEASE)
            wait(terminals, lambda terminal: len(terminal.lines) == round_, 120)
            at = warned_at(node)
            delays = [terminal.lines[-1] - at for terminal in terminals]
            every += delays
            last.append(max(delays))
    finally:
        for terminal in terminals:
            terminal.end()
    table.add(
        f"a warning shows in {TERMINALS} open terminals, counted from its event", spread(every), "",
        f"the last after {ms(max(last))}, at most {ms(LIMIT)}", verdict(max(last) <= LIMIT), samples=every, last=last,
    )


class Terminal:
    """A real `ssh -tt`, and when it showed each line of the server's own."""

    def __init__(self, node, view):
        self.shown, self.lines = b"", []
        self.process = subprocess.Popen(
            ["ssh", "-F", "/dev/null", "-tt", "-i", str(node.dir / "key"), "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR",
             "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-p", str(view["port"]),
             f"{view['ssh_user']}@127.0.0.1", "echo ready; exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def read(self):
        now = time.time()  # as the agent's events: both are of this machine
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            raise RuntimeError("a terminal ended")
        self.shown += data
        self.lines += [now] * (self.shown.count(b"[berth] ") - len(self.lines))

    def end(self):
        self.process.terminate()
        self.process.wait()


def wait(terminals, done, timeout):
    deadline = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for terminal in terminals:
            selector.register(terminal.process.stdout, selectors.EVENT_READ, terminal)
        while not all(map(done, terminals)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"only {sum(map(done, terminals))} of {len(terminals)} terminals after {timeout} s")
            for key, _ in selector.select(1):
                key.data.read()


def warned_at(node):
    """When the last warning was decided."""
    lines = node.berth("events", "--last", "20", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    at = [event["at"] for event in events if event["kind"] == "berth.lease-ending" and event["berth"] == NAME][-1]
    seconds, _, fraction = at.rstrip("Z").partition(".")
    whole = time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")
    return calendar.timegm(whole) + float(f"0.{fraction or 0}")
