"""The file system of the ledger is full, again and again, while people go on; the agent is killed there too."""

import contextlib
import random
import shutil
import signal
import subprocess
import time

import page
from invariants import Broken, settle, standing
from load import users
from people import HOST, Crowd

ROOM = 24 << 20  # bytes beside what is there


def play(node, daemon, engine, options):
    with small_state(node):
        return fill_again_and_again(node, engine, options)


@contextlib.contextmanager
def small_state(node):
    """The agent's state on a small file system of its own."""
    state, aside = node.dir / "state", node.dir / "state.aside"
    node.release_all()
    node.stop_agent()
    state.rename(aside)
    state.mkdir()
    size = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file()) + ROOM
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=711", "campaign", str(state)], check=True)
    subprocess.run(["cp", "-a", f"{aside}/.", str(state)], check=True)
    # The simulated driver is no part of what a real node has there.
    subprocess.run(["mount", "--bind", str(aside / "sim"), str(state / "sim")], check=True)
    node.start_agent()
    yield
    node.release_all()
    node.stop_agent()
    subprocess.run(["umount", str(state / "sim")], check=True)
    for path in [*aside.glob("ledger.db*"), aside / "berths"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in [*state.glob("ledger.db*"), state / "berths"]:
        subprocess.run(["cp", "-a", str(path), str(aside)], check=True)
    subprocess.run(["umount", str(state)], check=True)
    state.rmdir()
    aside.rename(state)
    node.start_agent()


def fill_again_and_again(node, engine, options):
    chance = random.Random(options.seed)
    crowd = Crowd(node, users(options.people), options.seed)
    killed = renewed = released = 0
    for number in options.turns:
        crowd.allowed.discard(HOST)
        crowd.work(node, chance.uniform(0, 2.5))
        crowd.allowed.add(HOST)
        filler = fill(node.dir / "state")
        time.sleep(chance.uniform(0.5, 4))
        try:
            if chance.random() < 0.5:
                crowd.trouble.set()
                crowd.running.clear()
                node.stop_agent(signal.SIGKILL)
                node.start_agent()
                crowd.rest()
                killed += 1
            else:
                crowd.rest()
            renewed, released = renewed + act(node, crowd, "renew"), released + act(node, crowd, "release")
            filler.unlink()
            took = settle(node, engine, crowd)
        except Broken as error:
            raise Broken(f"the disk full for the {number}th time: {error}") from None
        print(f"   {number}: {killed} kills, in order {took:.2f} s after there was room, {dict(crowd.count)}", flush=True)
    crowd.end()
    rows = [
        ("times that the file system was full", number),
        ("of them with an agent that was killed and started there", killed),
        ("renewals on it, all done", renewed),
        ("releases on it, all done", released),
        ("commands cut off or refused", crowd.count["cut off"] + crowd.count["refused"]),
        ("invariants that did not hold", 0),
    ]
    return page.table(("what", "number"), rows)


def fill(state):
    """As much as fits: the error is the point."""
    filler = state / "filler"
    with open(filler, "wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return filler


def act(node, crowd, verb):
    """What has to succeed without room: how often it was tried. It is done for somebody, who is told."""
    for person in crowd.people:
        for known in person.berths:
            there = [b for b in standing(node) if b["owner"] == person.name and b["name"] in known.names and b["state"] == "live"]
            if not there:
                continue
            done = node.berth(verb, f"{person.name}/{there[0]['name']}", check=False)
            if done.returncode != 0:
                raise Broken(f"{verb} on a full file system: exit {done.returncode}: {done.stderr.strip()}")
            if verb == "release":
                known.states = {"gone"}
            return 1
    return 0
