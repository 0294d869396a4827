"""The agent is killed with -9 at random under load. After its restart the ledger must equal the containers."""

import random
import signal
import statistics
import time

import load
from clients import Crowd
from engine import Watcher, cards_of
from table import ms

SETTLED = 30  # seconds after its restart in which an agent has to have put everything in order


def measure(node, engine, table, options):
    chance, image_id = random.Random(options.seed), node.image()
    last = max((berth["id"] for berth in node.berths()), default=0)
    watcher = Watcher(engine, node.dev)
    crowd = Crowd(node, load.users(options.clients), options.seed)
    began = time.monotonic()
    wrong, unreported, repaired, times = [], 0, 0, []
    for kill in range(options.kills):
        release_some(node, chance)
        threads = crowd.round()
        time.sleep(chance.uniform(0.2, 4))
        intents = kill_agent(node, crowd, threads)
        repaired += intents
        planted = plant(node, engine, image_id) if kill % 4 == 0 else None
        node.start_agent()
        crowd.killed.clear()
        took, difference = put_in_order(node, engine, planted)
        times.append(took)
        wrong += [f"kill {kill + 1}: {text}" for text in difference]
        if planted:
            unreported += not reported(node, engine, planted)
            engine.remove(planted)
        print(f"   kill {kill + 1}: {intents} intents were open, in order after {ms(took)} {difference or ''}", flush=True)
    load.report(table, crowd, f"crash, {options.kills} kills", time.monotonic() - began)
    table.must(
        f"crash: differences between ledger and containers after {options.kills} restarts", len(wrong),
        f"0; {repaired} open intents met", wrong=wrong,
    )
    table.must("crash: containers without an intent that were not reported, or not left alone", unreported)
    table.add("crash: from the agent's first answer until all was in order", f"{ms(statistics.median(times))}", "", f"longest {ms(max(times))}", times=times)
    load.report_cards(table, "crash", node, watcher, last, "start")
    for text in wrong[:10]:
        print(f"   ! {text}", flush=True)
    watcher.close()


def release_some(node, chance):
    """Half of what the last round left, so that some berths live through several kills."""
    for berth in node.held():
        if chance.random() < 0.5:
            node.berth("release", f"{berth['owner']}/{berth['name']}", check=False)


def kill_agent(node, crowd, threads):
    """Returns how many intents the ledger had open at that moment."""
    crowd.killed.set()
    node.stop_agent(signal.SIGKILL)
    intents = sum(berth["state"] != "live" for berth in node.held())
    for thread in threads:
        thread.join()
    return intents


def plant(node, engine, image_id):
    """A container that says it is this agent's, of a berth that the ledger never had."""
    name = f"bench-planted-{time.monotonic_ns()}"
    labels = {"schema": 1, "instance": node.instance(), "id": 10**9, "owner": "nobody", "name": "planted", "cards": "",
              "port": 1, "image": "workspace", "created": "2026-01-01T00:00:00Z"}
    arguments = [part for key, value in labels.items() for part in ("--label", f"berth.{key}={value}")]
    engine.docker("run", "-d", "--network", "none", "--name", name, *arguments, image_id, "/bin/sleep", "600")
    return name


def put_in_order(node, engine, planted):
    """How long it took until there was no difference, and the differences that stayed."""
    began = time.monotonic()
    while (difference := differences(node, engine, planted)) and time.monotonic() - began < SETTLED:
        time.sleep(0.02)
    took = time.monotonic() - began
    node.settle()
    return took, differences(node, engine, planted)


def differences(node, engine, planted):
    found = []
    containers = {c["Id"]: c for c in engine.containers(f"berth.instance={node.instance()}") if f"/{planted}" not in c["Names"]}
    for berth in node.held():
        label = f"{berth['owner']}/{berth['name']}#{berth['id']}"
        container = containers.pop(berth["container_id"], None)
        inspect = container and engine.inspect(container["Id"])
        if berth["state"] != "live":
            found.append(f"{label} is {berth['state']}")
        elif inspect is None:
            found.append(f"{label} has no container")
        elif not inspect["State"]["Running"]:
            found.append(f"{label} is live, its container does not run")
        elif cards_of(inspect, node.dev) != berth["cards"]:
            found.append(f"{label} has cards {berth['cards']}, its container {cards_of(inspect, node.dev)}")
        elif inspect["Config"]["Labels"].get("berth.id") != str(berth["id"]):
            found.append(f"{label} and its container differ in the id")
    return found + [f"container {c['Names'][0]} ({c['State']}) has no berth" for c in containers.values()]


def reported(node, engine, planted):
    """The event is there, and the container still runs."""
    told = any(planted in row["text"] for row in node.ledger("SELECT text FROM events WHERE kind = 'container.unknown'"))
    inspect = engine.inspect(planted)
    return told and inspect is not None and inspect["State"]["Running"]
