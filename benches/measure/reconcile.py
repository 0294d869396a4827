"""An agent starts where it has many containers: how long it compares them with the ledger, and how often it asks for a list."""

import json
import re
import socket
import threading
import time
import urllib.parse

from engine import Connection
from node import OWNER
from table import INFO, ms, verdict

LIMIT = 0.5
ROUNDS = 3
REQUEST = re.compile(rb"(GET|POST|DELETE|HEAD) (/\S*) HTTP/1\.1\r\n")


def measure(node, engine, table, options):
    for number in range(options.containers):
        node.berth("request", "--user", OWNER, "--name", f"many-{number}", "--cards", "0", "--image", "workspace")
        if (number + 1) % 50 == 0:
            print(f"   {number + 1} containers", flush=True)
    tap = Tap(engine.path, str(node.dir / "run/tap.sock"))
    config = (node.dir / "berth.toml").read_text()
    (node.dir / "berth.toml").write_text(config.replace(f'socket = "{engine.path}"', f'socket = "{tap.path}"'))
    try:
        looks = [one(node, tap) for _ in range(ROUNDS)]
    finally:
        (node.dir / "berth.toml").write_text(config)
        node.stop_agent()
        tap.close()
        node.start_agent()
    times, lists, whole = zip(*looks)
    table.add(
        f"reconcile {options.containers} containers: from the list of them until the first look at one", ms(sorted(times)[1]), "",
        f"longest {ms(max(times))}, at most {ms(LIMIT)}", verdict(max(times) <= LIMIT), times=times,
    )  # fmt: skip
    table.add("reconcile: lists of its own containers that it asks Docker for", str(max(lists)), "", "1", verdict(max(lists) == 1))
    table.add("reconcile: from the agent's start until it has looked at each of them", ms(sorted(whole)[1]), verdict=INFO, whole=whole)


def one(node, tap):
    node.stop_agent()
    tap.seen.clear()
    began = time.monotonic()
    node.start_agent()
    while not looked(node):
        time.sleep(0.01)
    whole = time.monotonic() - began
    own = [at for at, path in tap.seen if "/containers/json" in path and "berth.instance" in path]
    # All of them are looked at one by one after that.
    ended = next(at for at, path in tap.seen if at > own[0] and re.search(r"/containers/[0-9a-f]{64}/json", path))
    return ended - own[0], sum(at <= ended for at in own), whole


def looked(node):
    """Whether the first look at containers is over."""
    connection = Connection(node.socket, 10)
    try:
        connection.request("GET", "/v1/health", headers={"Host": "berth"})
        tasks = json.loads(connection.getresponse().read())["tasks"]
    finally:
        connection.close()
    return any(task["name"] == "containers" and task["turns"] > 0 and task["busy_seconds"] is None for task in tasks)


class Tap:
    """Between the agent and the engine: notes when which request passes."""

    def __init__(self, engine, path):
        self.engine, self.path, self.seen = engine, path, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.engine)
            for pair in [(client, server, self.note), (server, client, lambda _: None)]:
                threading.Thread(target=pass_on, args=pair, daemon=True).start()

    def note(self, data):
        """A request's head comes in one piece, as the agent writes it."""
        if found := REQUEST.match(data):
            self.seen.append((time.monotonic(), urllib.parse.unquote(found[2].decode())))

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def pass_on(source, target, note):
    try:
        while data := source.recv(65536):
            note(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # either end is gone
