"""A Docker Engine that the campaign may restart, kill and stall."""

import json
import pathlib
import signal
import subprocess
import time

from engine import Connection

RUNTIME = pathlib.Path(__file__).resolve().parents[2] / "scripts/lib/runc-rig"


class Daemon:
    def __init__(self, directory, socket):
        self.dir, self.socket = pathlib.Path(directory), socket
        self.process = None
        config = self.dir / "daemon.json"
        config.write_text(json.dumps({"runtimes": {"rig": {"path": str(RUNTIME)}}}))
        self.command = [
            "dockerd", "--data-root", str(self.dir / "docker"), "--exec-root", "/run/docker-exec", "--pidfile", "/run/dockerd.pid",
            "--config-file", str(config), "-H", f"unix://{socket}", "--cgroup-parent", f"/{self.dir.name}",
        ]  # fmt: skip

    def start(self, timeout=90):
        with open(self.dir / "dockerd.log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        began = time.monotonic()
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() - began > timeout:
                raise RuntimeError(f"dockerd does not answer; its log: {self.dir / 'dockerd.log'}")
            time.sleep(0.05)

    def answers(self):
        connection = Connection(self.socket, 3)
        try:
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self):
        """As for an update: its containers end with it."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        self.ended()

    def kill(self):
        self.send(signal.SIGKILL)
        self.ended()
        # Else the next one takes the file for another engine that runs.
        pathlib.Path("/run/dockerd.pid").unlink(missing_ok=True)

    def stall(self):
        self.send(signal.SIGSTOP)

    def go_on(self):
        self.send(signal.SIGCONT)

    def send(self, what):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(what)

    def ended(self):
        if self.process is not None:
            self.process.wait(90)
            self.process = None
