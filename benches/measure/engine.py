"""The Docker Engine: its CLI (what people compare with), its API, its events."""

import http.client
import json
import socket
import subprocess
import threading
import urllib.parse


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    def __init__(self, path):
        self.path = path
        self.command = ["docker", "--host", f"unix://{path}"]

    def docker(self, *args, check=True):
        done = subprocess.run([*self.command, *args], capture_output=True, text=True, timeout=120)
        if check and done.returncode != 0:
            raise RuntimeError(f"docker {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def remove(self, name):
        self.docker("rm", "-f", "-v", name, check=False)

    def get(self, path):
        """None when there is no such thing."""
        connection = Connection(self.path, 60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: {answer.status} {body[:200]!r}")
        return json.loads(body)

    def containers(self, label):
        filters = urllib.parse.quote(json.dumps({"label": [label]}))
        return self.get(f"/containers/json?all=true&filters={filters}")

    def inspect(self, name):
        return self.get(f"/containers/{name}/json")


def cards_of(inspect, dev):
    """The cards that a container really was given: its device list, not its labels."""
    prefix = f"{dev}/davinci"
    paths = [device["PathOnHost"] for device in inspect["HostConfig"].get("Devices") or []]
    numbers = [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
    return sorted(int(number) for number in numbers if number.isdigit())


class Watcher:
    """Follows the engine's events in a thread: when each container was made, started, ended and removed, by the
    engine's own clock, and the cards that it was given. `runs` has each time from a start to the end after it."""

    def __init__(self, engine, dev):
        self.engine, self.dev = engine, str(dev)
        self.seen = {}
        self.changed = threading.Condition()
        self.connection = Connection(engine.path, None)
        filters = urllib.parse.quote(json.dumps({"type": ["container"], "event": ["create", "start", "die", "destroy"]}))
        self.connection.request("GET", f"/events?filters={filters}")
        self.answer = self.connection.getresponse()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        try:
            for line in self.answer:
                if line.strip():
                    self.note(json.loads(line))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # closed

    def note(self, event):
        actor = event["Actor"]
        with self.changed:
            entry = self.seen.setdefault(actor["ID"], {"name": actor["Attributes"].get("name", ""), "cards": None, "runs": []})
            entry["instance"] = actor["Attributes"].get("berth.instance")
            action, at = event["Action"], event["timeNano"] / 1e9
            entry[action] = at
            if action == "start":
                entry["runs"].append([at, float("inf")])
            elif action == "die" and entry["runs"]:
                entry["runs"][-1][1] = at
            self.changed.notify_all()
        if event["Action"] in ("create", "start") and entry["cards"] is None:
            inspect = self.engine.inspect(actor["ID"])
            if inspect is not None:
                entry["cards"] = cards_of(inspect, self.dev)

    def wait(self, container, action, timeout=30):
        """When the container of that id did that."""
        with self.changed:
            if not self.changed.wait_for(lambda: action in self.seen.get(container, {}), timeout):
                raise RuntimeError(f"no event {action} of {container}")
            return self.seen[container][action]

    def close(self):
        if self.connection.sock:
            self.connection.sock.shutdown(socket.SHUT_RDWR)
