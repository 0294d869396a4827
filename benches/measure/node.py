"""One berth agent with a directory of its own: its process, its command line, its ledger."""

import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import time

from engine import Connection

HOLDS = ("creating", "starting", "live", "stopping", "stopped", "releasing")
OWNER = "bench"


class Node:
    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.command = [str(self.dir / "berth"), "--config", str(self.dir / "berth.toml")]
        self.socket = str(self.dir / "run/berth.sock")
        self.dev = self.dir / "state/sim/dev"
        self.agent = None

    def berth(self, *args, check=True, timeout=120):
        done = subprocess.run([*self.command, *args], capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise RuntimeError(f"berth {' '.join(args)}: exit {done.returncode}: {done.stderr.strip()}")
        return done

    def json(self, *args):
        return json.loads(self.berth(*args, "--json").stdout)

    def spawn_agent(self):
        log = open(self.dir / "agent.log", "ab")
        self.agent = subprocess.Popen([*self.command, "agent"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()

    def answers(self):
        """Whether the socket answers a listing."""
        connection = Connection(self.socket, 10)
        try:
            connection.request("GET", "/v1/berths", headers={"Host": "berth"})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def start_agent(self, timeout=30):
        """Returns how long it took until the socket answered a listing."""
        began = time.monotonic()
        self.spawn_agent()
        while not self.answers():
            if self.agent.poll() is not None or time.monotonic() - began > timeout:
                raise RuntimeError(f"the agent does not answer; its log: {self.dir / 'agent.log'}")
            time.sleep(0.001)
        return time.monotonic() - began

    def stop_agent(self, how=signal.SIGTERM):
        if self.agent is not None and self.agent.poll() is None:
            self.agent.send_signal(signal.SIGCONT)
            self.agent.send_signal(how)
            self.agent.wait(30)
        self.agent = None

    def pause_agent(self):
        self.agent.send_signal(signal.SIGSTOP)

    def resume_agent(self):
        self.agent.send_signal(signal.SIGCONT)

    def cpu_ticks(self):
        fields = pathlib.Path(f"/proc/{self.agent.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def settle(self, timeout=20):
        """Until the agent has nothing to do: no CPU time used for a fifth of a second."""
        deadline = time.monotonic() + timeout
        before, since = self.cpu_ticks(), time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - since < 0.2:
            time.sleep(0.02)
            now = self.cpu_ticks()
            if now != before:
                before, since = now, time.monotonic()

    def memory(self, key="VmRSS"):
        status = pathlib.Path(f"/proc/{self.agent.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(key + ":"))

    def prepare(self, users):
        """The image and the users; what is there already is used."""
        if not any(image["name"] == "workspace" for image in self.json("image", "list")["images"]):
            self.berth("image", "import", str(self.dir / "images/workspace.tar"), "--name", "workspace")
        known = {user["name"] for user in self.json("user", "list")["users"]}
        for user in users:
            if user not in known:
                self.berth("user", "add", user, "--key", str(self.dir / "key.pub"))
        self.release_all()

    def image(self):
        images = self.json("image", "list")["images"]
        return next(image["image_id"] for image in images if image["name"] == "workspace")

    def release_all(self):
        for ticket in self.json("queue")["waiting"]:
            self.berth("cancel", str(ticket["id"]), check=False)
        for berth in self.held():
            self.berth("release", f"{berth['owner']}/{berth['name']}", check=False)

    def ledger(self, query):
        return self.ledger_at_once(query)[0]

    def ledger_at_once(self, *queries):
        """Read beside the agent, which is the only one that writes: all of it as it was at one moment."""
        connection = sqlite3.connect(f"file:{self.dir / 'state/ledger.db'}?mode=ro", uri=True, timeout=10, isolation_level=None)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("BEGIN")
            return [[dict(row) for row in connection.execute(query)] for query in queries]
        finally:
            connection.close()

    def berths(self):
        rows = self.ledger(
            "SELECT id, owner, name, state, container_id, created_at, ended_at, note, (SELECT group_concat(card)"
            " FROM berth_cards WHERE berth = berths.id) AS cards FROM berths ORDER BY id"
        )
        for row in rows:
            row["cards"] = sorted(int(card) for card in (row["cards"] or "").split(",") if card)
        return rows

    def held(self):
        return [berth for berth in self.berths() if berth["state"] in HOLDS]

    def instance(self):
        return self.ledger("SELECT value FROM meta WHERE key = 'instance'")[0]["value"]


def clean_environment():
    """What the caller's environment could turn is taken out of it."""
    for key in ("BERTH_CONFIG", "BERTH_LOG", "DOCKER_HOST", "DOCKER_CONTEXT"):
        os.environ.pop(key, None)
