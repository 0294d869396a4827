"""What has to be so when nobody does anything: the ledger, Docker, the kernel, files, ports, firewall, and what people
were told agree. `look` says what does not; a look changes nothing but what is known of berths."""

import collections
import json
import os
import pathlib
import re
import subprocess
import time

from engine import cards_of
from people import Berth

SETTLED = 60  # seconds in which an agent has to have put everything in order
BERTHS = (
    "SELECT id, owner, name, state, container_id, port, size, (SELECT group_concat(card) FROM berth_cards WHERE berth = berths.id"
    " AND held = 1) AS cards FROM berths WHERE state NOT IN ('released', 'undone') ORDER BY id"
)
# Of an address alone, not of Docker's whole network.
ADDRESS = re.compile(r"-[sd] (172\.\d+\.\d+\.\d+)/32")
PUBLISHED = re.compile(r"-p tcp .*--dport (\d+) .*-j DNAT")


class Broken(Exception):
    """An invariant does not hold."""


def settle(node, engine, crowd=None, planted=None, timeout=SETTLED, rules_left=False):
    """How long it took until all was in order. `rules_left`: Docker was killed, and may have left rules of the firewall."""
    began = time.monotonic()
    while found := look(node, engine, kept := Kept(node), crowd, planted, rules_left):
        if time.monotonic() - began > timeout:
            raise Broken(f"after {timeout} s: " + "; ".join(found[:10]))
        time.sleep(0.05)
    if crowd is not None:
        if crowd.wrong:
            raise Broken("; ".join(crowd.wrong[:10]))
        learn(node, crowd, kept)
    return time.monotonic() - began


def nobody_waits(node, timeout=150):
    """The tickets of clients that are gone end, too: an agent may give them a while to come back."""
    deadline = time.monotonic() + timeout
    while left := node.ledger("SELECT id FROM tickets WHERE request IS NULL"):
        if time.monotonic() > deadline:
            raise Broken(f"nobody waits any more, and there are the tickets {[row['id'] for row in left]}")
        time.sleep(0.5)


class Kept:
    """What the ledger keeps at one moment: a request that waits becomes a berth by itself."""

    def __init__(self, node):
        self.berths, self.holdings, self.conditions, self.tickets, self.snapshots, failed = node.ledger_at_once(
            BERTHS,
            "SELECT berth, card FROM holdings WHERE until IS NULL",
            "SELECT berth, code FROM conditions WHERE code <> 'oom'",
            "SELECT id, owner, berth FROM tickets",
            "SELECT id, owner, name, state FROM snapshots",
            "SELECT owner, berth FROM events WHERE kind = 'ticket.failed'",
        )
        self.failed = {(row["owner"], row["berth"]) for row in failed}
        with_cards(self.berths)

    def own(self, owner):
        return {berth["name"]: berth for berth in self.berths if berth["owner"] == owner}

    def waiting(self, owner):
        return {ticket["berth"]: ticket["id"] for ticket in self.tickets if ticket["owner"] == owner}

    def images(self, owner):
        return {row["name"]: row["state"] for row in self.snapshots if row["owner"] == owner}


def look(node, engine, kept, crowd, planted, rules_left):
    berths = kept.berths
    # The cheap ones first: the others are of no interest before.
    found = of_ledger(kept) or of_told(kept, crowd)
    if found:
        return found
    containers = {c["Id"]: c for c in engine.containers(f"berth.instance={node.instance()}") if f"/{planted}" not in c["Names"]}
    inspects = {id_: engine.inspect(id_) for id_ in containers}
    if None in inspects.values():
        return ["a container went while it was looked at"]
    found = of_docker(node, engine, kept, containers, inspects)
    running = [inspect for inspect in inspects.values() if inspect["State"]["Running"]]
    return found or of_kernel(node, berths, running) or of_files(node, berths) or of_network(berths, running, rules_left) or of_api(node, berths)


def standing(node):
    return with_cards(node.ledger(BERTHS))


def with_cards(rows):
    for row in rows:
        row["cards"] = sorted(int(card) for card in (row["cards"] or "").split(",") if card)
    return rows


def label(berth):
    return f"{berth['owner']}/{berth['name']}#{berth['id']}"


def of_ledger(kept):
    berths = kept.berths
    found = [f"{label(b)} is {b['state']}" for b in berths if b["state"] not in ("live", "stopped")]
    found += [f"{label(b)} is stopped and has cards {b['cards']}" for b in berths if b["state"] == "stopped" and b["cards"]]
    found += [f"{label(b)} is made for {b['size']} cards and has {b['cards']}" for b in berths if b["state"] == "live" and len(b["cards"]) != b["size"]]
    holders = collections.Counter(card for b in berths for card in b["cards"])
    found += [f"card {card} is in {count} berths" for card, count in holders.items() if count > 1]
    held = {(b["id"], card) for b in berths for card in b["cards"]}
    open_ = [(row["berth"], row["card"]) for row in kept.holdings]
    if sorted(open_) != sorted(held):
        found.append(f"cards are held {sorted(held)}, and counted as held {sorted(open_)}")
    return found + [f"berth {row['berth']} has the condition {row['code']}" for row in kept.conditions]


def of_told(kept, crowd):
    """What people were told is so."""
    found = []
    for person in crowd.people if crowd else []:
        own = kept.own(person.name)
        for known in person.berths:
            there = [own[name] for name in known.names if name in own]
            states = {b["state"] for b in there} or {"gone"}
            who = f"{person.name}/{'|'.join(sorted(known.names))}"
            if len(there) > 1:
                found.append(f"{who} is there {len(there)} times")
            elif not states <= known.states:
                found.append(f"{who} is {states.pop()}, and its owner was told {sorted(known.states)}")
            elif there and there[0]["size"] not in known.sizes:
                found.append(f"{who} is made for {there[0]['size']} cards, and its owner was told {sorted(known.sizes)}")
        expected = {name for known in person.berths for name in known.names} | {ticket.name for ticket in person.tickets}
        found += [f"{label(b)} is there, and nobody asked for it" for name, b in own.items() if name not in expected]
        found += of_tickets(kept, person, own)
        found += of_snapshots(kept, person)
    return found


def of_tickets(kept, person, own):
    found, waiting = [], kept.waiting(person.name)
    for ticket in person.tickets:
        who = f"the ticket {ticket.id} of {person.name}/{ticket.name}"
        is_there = ticket.name in waiting or ticket.name in own
        if ticket.name in waiting and ticket.name in own:
            found.append(f"{who} waits, and is a berth")
        # One that was refused when its turn came was told so.
        was_refused = (person.name, ticket.name) in kept.failed
        if ticket.acknowledged and ticket.cancelled == "no" and not is_there and not was_refused:
            found.append(f"{who} is lost")
        if ticket.cancelled == "yes" and is_there:
            found.append(f"{who} was cancelled, and is there")
    return found


def of_snapshots(kept, person):
    rows = kept.images(person.name)
    found = [f"the image {person.name}/{name} is {state}" for name, state in rows.items() if state != "ready"]
    found += [f"the image {person.name}/{name} is lost" for name, known in person.snapshots.items() if known == "there" and name not in rows]
    found += [f"the image {person.name}/{name} is there, and was removed" for name in rows if name not in person.snapshots]
    return found


def of_docker(node, engine, kept, containers, inspects):
    found, left = [], dict(containers)
    for berth in kept.berths:
        left.pop(berth["container_id"], None)
        inspect = inspects.get(berth["container_id"])
        if inspect is None:
            found.append(f"{label(berth)} has no container")
            continue
        runs, cards = inspect["State"]["Running"], cards_of(inspect, node.dev)
        if inspect["State"]["Paused"]:
            found.append(f"the container of {label(berth)} stands still")
        elif runs != (berth["state"] == "live"):
            found.append(f"{label(berth)} is {berth['state']}, its container {inspect['State']['Status']}")
        elif runs and cards != berth["cards"]:
            found.append(f"{label(berth)} has cards {berth['cards']}, its container {cards}")
        elif inspect["Config"]["Labels"].get("berth.id") != str(berth["id"]):
            found.append(f"{label(berth)} and its container differ in the id")
        elif f"-{berth['owner']}-{berth['name']}-" not in inspect["Name"]:
            found.append(f"the container of {label(berth)} is called {inspect['Name']}")
    found += [f"container {c['Names'][0]} ({c['State']}) has no berth" for c in left.values()]
    found += [f"container {c['Names'][0]} of a look into an image is left" for c in engine.containers(f"berth.probe={node.instance()}")]
    tags = engine.docker("images", "--format", "{{.Tag}}", f"berth-snapshot-{node.instance()}").split()
    noted = sorted(str(row["id"]) for row in kept.snapshots)
    if sorted(tags) != noted:
        found.append(f"images of berths are {noted}, and in Docker {sorted(tags)}")
    return found


def of_kernel(node, berths, running):
    """The device cgroup, asked by a process in it: what it may not open is refused; of what it may the driver is missing."""
    cards = {berth["container_id"]: berth["cards"] for berth in berths}
    found = []
    for inspect in running:
        may = may_open(inspect["State"]["Pid"], node.dev)
        if may != cards[inspect["Id"]]:
            found.append(f"the kernel lets {inspect['Name']} open the cards {may} instead of {cards[inspect['Id']]}")
    return found


SCRIPT = 'echo $$ >"$1" || exit 9; shift; for node; do ( : <"$node" ) 2>&1; done; true'


def may_open(pid, dev):
    nodes = sorted(str(path) for path in dev.glob("davinci[0-9]*"))
    try:
        arguments = ["sh", "-c", SCRIPT, "sh", cgroup_of(pid), *nodes]
    except OSError:
        return "of a process that has ended"
    done = subprocess.run(arguments, capture_output=True, text=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]})
    lines = done.stdout.splitlines()
    if done.returncode != 0 or len(lines) != len(nodes):
        return f"nobody could look at: {done.stdout}{done.stderr}"
    refused = [line for line in lines if line.endswith("Operation not permitted")]
    allowed = [line for line in lines if line.endswith("No such device or address")]
    if len(refused) + len(allowed) != len(lines):
        return f"nobody could look at: {lines}"
    return sorted(int(re.search(r"davinci(\d+):", line)[1]) for line in allowed)


def cgroup_of(pid):
    """The list of processes of its device cgroup, or of its only one."""
    lines = [line.split(":", 2) for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for _, controllers, path in lines:
        if "devices" in controllers.split(","):
            return f"/sys/fs/cgroup/devices{path}/cgroup.procs"
    return f"/sys/fs/cgroup{lines[0][2]}/cgroup.procs"


def of_files(node, berths):
    there, expected = sorted(os.listdir(node.dir / "state/berths")), sorted(str(b["id"]) for b in berths)
    return [] if there == expected else [f"berths are {expected}, their directories {there}"]


def published():
    """The ports that the firewall leads to a container."""
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    return sorted(int(port) for port in PUBLISHED.findall(rules)), set(ADDRESS.findall(rules))


def of_network(berths, running, rules_left):
    """Docker publishes the ports of live berths and no others; rules are about containers that run."""
    found = []
    ports, named = published()
    live = sorted(b["port"] for b in berths if b["state"] == "live")
    if not set(live) <= set(ports) or (ports != live and not rules_left):
        found.append(f"live berths have the ports {live}, and published are {ports}")
    addresses = {network["IPAddress"] for inspect in running for network in inspect["NetworkSettings"]["Networks"].values()} - {""}
    if not addresses <= named or (named != addresses and not rules_left):
        found.append(f"containers have the addresses {sorted(addresses)}, the firewall {sorted(named)}")
    if len(veths()) != len(addresses):
        found.append(f"{len(addresses)} containers have a network, and there are {len(veths())} veths")
    return found


def veths():
    """/sys shows those of the network that it was mounted in."""
    names = [line.split(":")[0].strip() for line in pathlib.Path("/proc/net/dev").read_text().splitlines()]
    return [name for name in names if name.startswith("veth")]


def of_api(node, berths):
    """Nobody else has a card, and the agent sees it so."""
    held = {card for berth in berths for card in berth["cards"]}
    done = node.berth("cards", "--json", check=False)
    if done.returncode != 0:
        return [f"berth cards: exit {done.returncode}: {done.stderr.strip()[-300:]}"]
    wrong = [card for card in json.loads(done.stdout)["cards"] if card["free"] == (card["id"] in held)]
    return [f"card {card['id']}: free is {card['free']}, holders {card['holders']}, {card['unusable']}" for card in wrong]


def learn(node, crowd, kept):
    """What may have been so has become what is so."""
    for person in crowd.people:
        own = kept.own(person.name)
        for known in list(person.berths):
            there = next((own[name] for name in known.names if name in own), None)
            if there is None:
                person.berths.remove(known)
            else:
                known.names, known.states, known.sizes = {there["name"]}, {there["state"]}, {there["size"]}
        person.snapshots = dict.fromkeys(kept.images(person.name), "there")
        take_what_came(node, crowd, person, own, kept.waiting(person.name))


def take_what_came(node, crowd, person, own, waiting):
    for ticket in list(person.tickets):
        if ticket.name in own:
            berth = own[ticket.name]
            if berth["state"] not in ("live", "stopped"):
                continue  # its turn came just now
            person.tickets.remove(ticket)
            person.berths.append(Berth({ticket.name}, {berth["state"]}, {berth["size"]}))
            crowd.count["tickets became berths"] += 1
            log_in(node, berth)  # else it is stopped again after 15 minutes
        elif ticket.name not in waiting:
            person.tickets.remove(ticket)  # cancelled, refused, or never heard of
        else:
            ticket.id, ticket.acknowledged = waiting[ticket.name], True
            ticket.cancelled = "no"


def log_in(node, berth):
    """As its owner."""
    if berth["state"] != "live":
        return
    done = subprocess.run(
        ["ssh", "-F", "/dev/null", "-i", str(node.dir / "key"), "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
         "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=20", "-p", str(berth["port"]),
         "ma-user@127.0.0.1", "true"], capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise Broken(f"{label(berth)} is live, and does not let its owner in: {done.stderr.strip()}")
