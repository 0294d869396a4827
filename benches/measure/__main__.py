"""Measures one node; benches/run prepares it and calls this."""

import argparse
import datetime
import doctest
import os
import platform
import sys

import agent
import check
import crash
import foreign
import latency
import ledger
import listing
import load
import notices
import overlap
import past
import reconcile
import restart
from engine import Engine
from node import OWNER, Node, clean_environment
from table import Table

PARTS = {
    "latency": latency.measure,
    "foreign": foreign.measure,
    "restart": restart.measure,
    "list": listing.measure,
    "past": past.measure,
    "ledger": ledger.measure,
    "agent": agent.measure,
    "check": check.measure,
    "notices": notices.measure,
    "load": load.measure,
    "crash": crash.measure,
    "reconcile": reconcile.measure,
}


def main():
    options = parse()
    clean_environment()
    if doctest.testmod(overlap).failed:
        return 1  # what is to find double bookings does not
    node, engine, table = Node(options.node), Engine(options.docker), Table()
    node.start_agent()
    try:
        node.prepare([OWNER, *load.users(options.clients)])
        about = describe(node, engine)
        print(f"==> {about}", flush=True)
        for part in options.parts or PARTS:
            print(f"==> {part}", flush=True)
            PARTS[part](node, engine, table, options)
            node.release_all()
        about = f"{about}; load average at the end {os.getloadavg()[0]:.1f}"
    finally:
        if node.agent is not None and node.agent.poll() is None:
            node.resume_agent()
            node.release_all()
        node.stop_agent()
    print(f"\n{about}\n\n{table.text()}")
    if options.json:
        table.write(options.json, about)
    return 1 if table.failed else 0


def parse():
    parser = argparse.ArgumentParser(prog="benches/run")
    parser.add_argument("--node", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--docker", required=True, help=argparse.SUPPRESS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--n", type=int, default=25, help="samples of a time")
    parser.add_argument("--rounds", type=int, default=20, help="of load")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--containers", type=int, default=200, help="of reconcile")
    parser.add_argument("--warnings", type=int, default=3, help="of a lease, a minute each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"{part} is none of {', '.join(PARTS)}")
    return options


def describe(node, engine):
    version = engine.get("/version")
    runc = next((part["Version"] for part in version["Components"] if part["Name"] == "runc"), "?")
    now = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
    return (
        f"{now}, {os.cpu_count()} CPUs, Linux {platform.release()} {platform.machine()}, {node.berth('--version').stdout.strip()}, "
        f"Docker Engine {version['Version']}, runc {runc}, docker CLI {engine.docker('version', '--format', '{{.Client.Version}}')}, "
        f"load average at the start {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
