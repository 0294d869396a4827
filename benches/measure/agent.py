"""The agent itself: how soon it answers after its start, and what it keeps in memory when nobody asks."""

import statistics
import subprocess
import time

from table import spread, verdict

MEMORY_LIMIT = 25_000_000
READY_LIMIT = 0.2
IDLE = 15  # seconds with nothing to do: threads that were needed for a moment have ended by then


def measure(node, engine, table, options):
    socket, command = [], []
    for round_ in range(options.n + 1):
        node.stop_agent()
        took = node.start_agent()
        node.stop_agent()
        by_command = start_until_command(node)
        if round_:
            socket.append(took)
            command.append(by_command)
    for what, times in [("its socket answers a listing", socket), ("`berth list` answers", command)]:
        table.add(
            f"agent: from its start until {what}", spread(times), "", "at most 200 ms",
            verdict(statistics.median(times) <= READY_LIMIT), samples=times,
        )
    node.stop_agent()
    node.start_agent()
    memory(node, table, "after its start")
    for number in range(3):
        node.berth("request", "--user", "bench", "--name", f"memory-{number}", "--cards", "1", "--image", "workspace")
        node.berth("cards")
    node.release_all()
    memory(node, table, "after three berths came and went")


def memory(node, table, when):
    node.settle()
    time.sleep(IDLE)
    resident, own, peak = (node.memory(key) for key in ("VmRSS", "RssAnon", "VmHWM"))
    table.add(
        f"agent: resident when idle, {when}", f"{resident / 1e6:.1f} MB (its own {own / 1e6:.1f}, peak {peak / 1e6:.1f})", "",
        "at most 25 MB", verdict(resident <= MEMORY_LIMIT), resident=resident, own=own, peak=peak,
    )


def start_until_command(node):
    """`berth list` again and again, as a script that waits for the agent would; its own start is in the number."""
    began = time.monotonic()
    node.spawn_agent()
    while subprocess.run([*node.command, "list"], capture_output=True).returncode != 0:
        if time.monotonic() - began > 30:
            raise RuntimeError("the agent does not answer")
    return time.monotonic() - began
