"""Clients at the same time: each asks for a few cards through the command line, keeps them for a moment, and gives
them back."""

import collections
import json
import random
import subprocess
import threading
import time

DONE, BUSY = 0, 7
WAIT = 120  # seconds that a client which waits for cards is ready to wait
GRACE = 60  # and how much later than that an answer counts as a hang


class Crowd:
    """What a number of clients lived through."""

    def __init__(self, node, users, seed):
        self.node, self.users = node, users
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.count = collections.Counter()
        self.errors = []
        self.request_times = []
        self.killed = threading.Event()  # the agent is dead: errors are expected

    def round(self):
        """Every client once. The seed decides what each asks for, but not who comes first."""
        plans = [(user, self.random.randint(1, 4), self.random.random() < 0.25, self.random.random()) for user in self.users]
        threads = [threading.Thread(target=self.client, args=plan) for plan in plans]
        for thread in threads:
            thread.start()
        return threads

    def client(self, user, cards, patient, keep):
        wait = WAIT if patient else 0
        view = self.request(user, cards, wait)
        if view is None:
            return
        if len(view["cards"]) != cards or len(set(view["cards"])) != cards:
            self.note_error(f"{user} asked for {cards} cards and got {view['cards']}")
        self.killed.wait(keep)
        self.release(f"{user}/{view['name']}")

    def request(self, user, cards, wait):
        began = time.monotonic()
        done = self.run(["request", "--user", user, "--cards", str(cards), "--image", "workspace", "--json", "--wait", f"{wait}s"], wait + GRACE)
        if done is None:
            return None
        with self.lock:
            self.request_times.append(time.monotonic() - began)
            self.count["no cards free" if done.returncode == BUSY else "granted" if done.returncode == DONE else "error"] += 1
        if done.returncode == DONE:
            return json.loads(done.stdout)
        if done.returncode != BUSY:
            self.note_error(f"request: exit {done.returncode}: {done.stderr.strip()[-300:]}")
        return None

    def release(self, name):
        while not self.killed.is_set():
            done = self.run(["release", name], GRACE)
            if done is None or done.returncode == DONE:
                return
            if done.returncode != BUSY:
                self.note_error(f"release {name}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
                return
            self.count["releases refused as busy"] += 1

    def run(self, command, limit):
        """None when it hung."""
        try:
            return subprocess.run([*self.node.command, *command], capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            with self.lock:
                self.count["hung"] += 1
                self.errors.append(f"hung: {' '.join(command)}")
            return None

    def note_error(self, text):
        with self.lock:
            if self.killed.is_set():
                self.count["cut off by a kill"] += 1
            else:
                self.count["unexpected"] += 1
                self.errors.append(text)
