"""Requests and releases, thousands of them. What the agent keeps, and what it leaves in the machine, does not grow."""

import os
import statistics
import subprocess
import threading
import time

import page
from invariants import Broken, settle, veths
from load import users

PEOPLE = 4
LOOKS = 20
# Between the second fifth and the last one: allocators take a while.
GROWTH = {"its own memory, KiB": 2048, "descriptors": 3, "threads": 3, "veths": 0, "iptables rules": 0, "files": 0, "containers": 0}


def play(node, daemon, engine, options):
    each, done, errors, looks = max(1, options.count // LOOKS), 0, [], []
    began = time.monotonic()
    for _ in options.turns:
        if done == options.count:
            break
        number = min(each, options.count - done)
        cycle(node, number, errors)
        if errors:
            raise Broken(f"after {done} cycles: {errors[0]}")
        done += number
        settle(node, engine)
        node.settle()
        looks.append({"cycles": done} | taken(node, engine))
        print(f"   {looks[-1]}", flush=True)
    grown(looks)
    rate = done / (time.monotonic() - began)
    shown = [looks[0], *looks[len(looks) // 4 :: max(1, len(looks) // 4)], looks[-1]]
    unique = list({look["cycles"]: look for look in shown}.values())
    head = list(looks[0])
    text = page.table(head, [[look[key] for key in head] for look in unique])
    return f"{done} cycles, {rate:.1f} a second, by {PEOPLE} people at the same time:\n\n{text}"


def cycle(node, number, errors):
    def person(name, times):
        for _ in range(times):
            for words in (["request", "--user", name, "--cards", "1", "--image", "workspace"], ["release", f"{name}/dev"]):
                ran = node.berth(*words, check=False)
                if ran.returncode != 0:
                    errors.append(f"berth {' '.join(words)}: exit {ran.returncode}: {ran.stderr.strip()}")
                    return

    shares = [number // PEOPLE + (index < number % PEOPLE) for index in range(PEOPLE)]
    threads = [threading.Thread(target=person, args=pair) for pair in zip(users(PEOPLE), shares)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def taken(node, engine):
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    process = f"/proc/{node.agent.pid}"
    files = sum(len(names) + len(dirs) for part in ("state", "run", "storage") for _, dirs, names in os.walk(node.dir / part))
    return {
        "resident, KiB": node.memory("VmRSS") // 1024,
        "its own memory, KiB": node.memory("RssAnon") // 1024,
        "descriptors": len(os.listdir(f"{process}/fd")),
        "threads": len(os.listdir(f"{process}/task")),
        "veths": len(veths()),
        "iptables rules": sum(line.startswith("-A") for line in rules.splitlines()),
        "files": files,
        "containers": len(engine.get("/containers/json?all=true")),
        "ledger, KiB": (node.dir / "state/ledger.db").stat().st_size // 1024,
    }


def grown(looks):
    """What grew is a leak. With few looks there is nothing to compare."""
    if len(looks) < LOOKS // 2:
        return
    fifth = len(looks) // 5
    early, late = looks[fifth : 2 * fifth], looks[-fifth:]
    for key, most in GROWTH.items():
        by = statistics.median(look[key] for look in late) - statistics.median(look[key] for look in early)
        if by > most:
            raise Broken(f"{key} grew by {by} over {late[-1]['cycles']} cycles")
