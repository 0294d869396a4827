"""Measures SSH servers in one container; benches/ssh prepares it and calls this."""

import argparse
import datetime
import os
import pathlib
import platform
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent / "measure"))

import parts
from engine import Engine
from servers import Servers
from table import Table

HEAD = ("what", "berth", "OpenSSH", "berth/OpenSSH", "verdict")


def main():
    options = parse()
    table = Table(HEAD)
    with Servers(Engine(options.docker), options) as servers:
        about = describe(servers, options)
        print(f"==> {about}", flush=True)
        for part in options.parts or parts.PARTS:
            print(f"==> {part}", flush=True)
            parts.PARTS[part](servers, table, options)
    about = f"{about}; load average at the end {os.getloadavg()[0]:.1f}"
    print(f"\n{about}\n\n{table.text()}")
    if options.json:
        table.write(options.json, about)
    return 0


def parse():
    parser = argparse.ArgumentParser(prog="benches/ssh")
    for path in ("--dir", "--berth", "--docker"):
        parser.add_argument(path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts.PARTS))
    parser.add_argument("--n", type=int, default=30, help="samples of a short time")
    parser.add_argument("--rounds", type=int, default=3, help="samples of a long time")
    parser.add_argument("--cipher", default="chacha20-poly1305@openssh.com", help="the client's first choice is the default")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    for part in options.parts:
        if part not in parts.PARTS:
            parser.error(f"{part} is none of {', '.join(parts.PARTS)}")
    return options


def describe(servers, options):
    now = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
    return f"{now}; {os.cpu_count()} CPUs, {platform.machine()}; {servers.versions()}; {options.cipher}"


if __name__ == "__main__":
    sys.exit(main())
