"""Stop and start again: `berth start` on the same cards against `docker start` of the same container, and on other cards."""

import json
import shutil
import statistics
import subprocess
import time

from latency import run_arguments
from node import OWNER
from table import spread, verdict

NAME, OTHER = "again", "other"
LIMIT = 1.1


def measure(node, engine, table, options):
    view = node.json("request", "--user", OWNER, "--name", NAME, "--card-ids", "0,1", "--image", "workspace")
    same_cards(node, engine, table, options, view)
    other_cards(node, table, options)


def same_cards(node, engine, table, options, view):
    copy_of(node, engine, view)
    times = {"berth": [], "docker": []}
    sides = [("berth", lambda: berth_once(node)), ("docker", lambda: docker_once(node, engine))]
    for round_ in range(options.n + 1):  # the first warms up and is not counted
        for side, once in sides if round_ % 2 else reversed(sides):
            took = once()
            if round_:
                times[side].append(took)
    engine.remove("bench-same")
    ratio = statistics.median(times["berth"]) / statistics.median(times["docker"])
    table.add(
        "`berth start` on the same cards; `docker start`", spread(times["berth"]), spread(times["docker"]),
        f"{ratio:.2f}, at most {LIMIT}", verdict(ratio <= LIMIT), ratio=ratio, samples=times,
    )  # fmt: skip


def copy_of(node, engine, view):
    """A container that is the same in every option, on a port of its own, made and stopped."""
    made, berth_dir = engine.inspect(view["container_id"]), node.dir / f"state/berths/{view['id']}"
    files = node.dir / "same"
    shutil.rmtree(files, ignore_errors=True)
    shutil.copytree(berth_dir, files, symlinks=True)
    node.berth("stop", f"{OWNER}/{NAME}")
    node.settle()
    node.pause_agent()  # its port is open while the berth is stopped
    try:
        subprocess.run([*engine.command, *run_arguments(made, str(berth_dir), str(files), view["port"] + 500)], check=True, capture_output=True)
        engine.docker("stop", "bench-same")
    finally:
        node.resume_agent()


def berth_once(node):
    node.settle()
    took = start(node)
    node.berth("stop", f"{OWNER}/{NAME}")
    return took


def start(node):
    began = time.monotonic()
    node.berth("start", f"{OWNER}/{NAME}")
    return time.monotonic() - began


def docker_once(node, engine):
    node.settle()
    node.pause_agent()
    try:
        began = time.monotonic()
        engine.docker("start", "bench-same")
        took = time.monotonic() - began
        engine.docker("stop", "bench-same")
    finally:
        node.resume_agent()
    return took


def other_cards(node, table, options):
    """Each time somebody else has the cards that it had."""
    times = []
    node.berth("start", f"{OWNER}/{NAME}")
    for _ in range(max(1, options.n // 2)):
        had = json.loads(node.berth("show", f"{OWNER}/{NAME}", "--json").stdout)["cards"]
        node.berth("stop", f"{OWNER}/{NAME}")
        node.berth("request", "--user", OWNER, "--name", OTHER, "--card-ids", ",".join(map(str, had)), "--image", "workspace")
        node.settle()
        times.append(start(node))
        node.berth("release", f"{OWNER}/{OTHER}")
    table.add("`berth start` on other cards: its container is made anew", spread(times), samples=times)
