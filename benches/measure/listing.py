"""`berth list` against `docker ps`, with a few berths there."""

import statistics
import subprocess
import time

from node import OWNER
from table import spread, verdict

BERTHS = 4
LIMIT = 0.5


def measure(node, engine, table, options):
    for number in range(BERTHS):
        node.berth("request", "--user", OWNER, "--name", f"list-{number}", "--cards", "1", "--image", "workspace")
    node.settle()
    berth, docker = [*node.command, "list"], [*engine.command, "ps"]
    times = {"berth": [], "docker": []}
    for round_ in range(2 * options.n + 1):
        for side, command in [("berth", berth), ("docker", docker)]:
            took = timed(command)
            if round_:
                times[side].append(took)
    ratio = statistics.median(times["berth"]) / statistics.median(times["docker"])
    table.add(
        f"`berth list` and `docker ps` ({BERTHS} berths)", spread(times["berth"]), spread(times["docker"]),
        f"{ratio:.2f}, at most {LIMIT}", verdict(ratio <= LIMIT), ratio=ratio, samples=times,
    )


def timed(command):
    began = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - began
