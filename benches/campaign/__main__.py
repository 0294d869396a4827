"""Plays a campaign on one node; scripts/campaign prepares it, in namespaces of its own, and calls this."""

import argparse
import datetime
import os
import pathlib
import platform
import random
import sys
import time

import clocks
import cycles
import disk
import dockers
import kills
import page
from daemon import Daemon
from engine import Engine
from invariants import Broken
from load import users
from node import OWNER, Node, clean_environment

# What is played, and how often where nobody says so.
PARTS = {
    "kills": (kills.play, 1000),
    "docker": (dockers.play, 60),
    "disk": (disk.play, 30),
    "clock": (clocks.play, 40),
    "cycles": (cycles.play, 10_000),
}
SOCKET = "/run/docker.sock"


def main():
    options = parse()
    clean_environment()
    os.environ["BERTH_CLOCK_SHIFT"] = f"{options.node}/clock-shift"  # read by debug builds: the part `clock`
    node, daemon = Node(options.node), Daemon(options.node, SOCKET)
    daemon.start()
    broken = False
    try:
        node.start_agent()
        node.prepare([OWNER, *users(options.people)])
        node.berth("image", "check", "workspace")  # else the first agents are killed while they look into it
        for part in options.parts or PARTS:
            broken |= not play(part, node, daemon, options)
            if broken:
                break
    finally:
        node.stop_agent()
        daemon.stop()
    return 1 if broken else 0


def play(part, node, daemon, options):
    """Whether everything held."""
    what, number = PARTS[part]
    options.count = options.n or number
    options.turns = Turns(options.count, options.minutes)
    again = f"scripts/campaign --seed {options.seed} --people {options.people} --n {options.count} {part}"
    print(f"==> {part}: {options.count}, seed {options.seed}", flush=True)
    began = time.monotonic()
    try:
        text = what(node, daemon, Engine(SOCKET), options)
    except Broken as error:
        print(f"error: {part}: {error}\n   to play it again: {again}", file=sys.stderr, flush=True)
        return False
    about = describe(node, again, time.monotonic() - began)
    print(f"{about}\n\n{text}", flush=True)
    if not options.keep_docs:
        page.write(pathlib.Path(options.page), part, f"{about}\n\n{text}")
    clear(node)
    return True


def clear(node):
    """For the next part, which knows nothing of this one."""
    node.release_all()
    for image in node.json("image", "list")["images"]:
        if image["owner"] is not None:
            node.berth("image", "remove", image["name"])


class Turns:
    """Counts from 1, as often as was said, or for as long."""

    def __init__(self, count, minutes):
        self.count, self.deadline = count, time.monotonic() + 60 * (minutes or float("inf"))

    def __iter__(self):
        for number in range(1, self.count + 1):
            if number > 1 and time.monotonic() > self.deadline:
                return
            yield number


def describe(node, command, took):
    day = datetime.date.today().isoformat()
    version = node.berth("--version").stdout.strip()
    length = f"{took / 60:.0f} minutes" if took >= 120 else f"{took:.0f} s"
    return (
        f"On {day}, in {length}: `{command}`, {version}, {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}, "
        f"Linux {platform.release()}."
    )


def parse():
    parser = argparse.ArgumentParser(prog="scripts/campaign")
    parser.add_argument("--node", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--page", required=True, help=argparse.SUPPRESS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--n", type=positive, help="how often; each part has its own number")
    parser.add_argument("--minutes", type=positive, help="the longest time for each part")
    parser.add_argument("--people", type=positive, default=32)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--keep-docs", action="store_true", help="docs/reliability.md stays as it is")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"{part} is none of {', '.join(PARTS)}")
    return options


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
