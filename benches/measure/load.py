"""Many clients ask for cards at once. No card may be in two berths, and no request may hang."""

import statistics
import time

import agent
import overlap
from clients import Crowd
from engine import Watcher
from table import INFO, OK, MISSED, ms


def users(count):
    return [f"bench-{number}" for number in range(count)]


def measure(node, engine, table, options):
    last = max((berth["id"] for berth in node.berths()), default=0)
    watcher = Watcher(engine, node.dev)
    crowd = Crowd(node, users(options.clients), options.seed)
    began = time.monotonic()
    for number in range(options.rounds):
        for thread in crowd.round():
            thread.join()
        print(f"   round {number + 1}: {dict(crowd.count)}", flush=True)
    took = time.monotonic() - began
    node.settle()
    report(table, crowd, f"load, {options.clients} clients, {options.rounds} rounds", took)
    report_cards(table, "load", node, watcher, last)
    left = len(node.held()) + len(engine.containers(f"berth.instance={node.instance()}"))
    table.must("load: berths and containers left over when all were released", left)
    agent.memory(node, table, "after that load")
    watcher.close()


def report(table, crowd, what, took):
    count = crowd.count
    times = crowd.request_times or [0]
    table.add(
        f"{what}: requests", f"{sum(count[key] for key in ('granted', 'no cards free', 'error'))} in {took:.0f} s, {count['granted']} granted",
        "", f"median answer {ms(statistics.median(times))}, longest {max(times):.1f} s", INFO, count=dict(count), seconds=took,
    )
    table.must(f"{what}: requests and releases that hung", count["hung"])
    unexpected = count["unexpected"]
    table.add(f"{what}: ended with an error other than *no cards free*", str(unexpected), "", "0",
              OK if unexpected == 0 else MISSED, errors=crowd.errors)
    for error in crowd.errors[:10]:
        print(f"   ! {error}", flush=True)
    if count["releases refused as busy"]:
        table.add(f"{what}: releases refused as busy and tried again", str(count["releases refused as busy"]), "", "0", MISSED)


def report_cards(table, what, node, watcher, last, begin="create"):
    instance = node.instance()
    ledger = overlap.in_ledger(node.berths(), last)
    table.must(f"{what}: cards in two berths at once, by the ledger's history", len(ledger), found=ledger)
    docker = overlap.in_docker(watcher.seen, instance, begin)
    table.must(f"{what}: cards in two containers at once, by Docker's device lists", len(docker), found=docker)
    unseen = overlap.unseen(watcher.seen, instance)
    table.must(f"{what}: containers whose device list could not be read", len(unseen), found=unseen)
    for text in [*ledger, *docker][:10]:
        print(f"   ! {text}", flush=True)
