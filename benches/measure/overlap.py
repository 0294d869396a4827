"""Whether a card was ever in two places at once: by the ledger's own history, and by what Docker really did."""

import datetime


def in_ledger(berths, after):
    """Berths that held the same card at the same time, from a berth id on."""
    spans = []
    for berth in berths:
        if berth["id"] > after:
            ended = parse(berth["ended_at"]) if berth["ended_at"] else now()
            name = f"{berth['owner']}/{berth['name']}#{berth['id']}"
            spans += [(card, parse(berth["created_at"]), ended, name) for card in berth["cards"]]
    return overlaps(spans)


def in_docker(seen, instance, begin="start"):
    """Containers of this agent that had the same card among their devices while both were there: while they ran, or
    with `create` from when they were made until they were removed."""
    spans = []
    for entry in seen.values():
        if entry["instance"] == instance and begin in entry:
            times = entry["runs"] if begin == "start" else [(entry["create"], entry.get("destroy", float("inf")))]
            spans += [(card, *time, entry["name"]) for card in entry["cards"] or [] for time in times]
    return overlaps(spans)


def unseen(seen, instance):
    """Containers that ran and were gone before their device list could be read: not looked at is not fine."""
    return [e["name"] for e in seen.values() if e["instance"] == instance and "start" in e and e["cards"] is None]


def overlaps(spans):
    """
    >>> overlaps([(0, 1, 3, "a"), (0, 3, 4, "b"), (1, 2, 9, "c")])
    []
    >>> overlaps([(0, 1, 9, "a"), (0, 2, 3, "b"), (0, 5, 6, "c")])
    ['card 0: a and b', 'card 0: a and c']
    """
    found = []
    last = {}  # a card's span that ends last so far
    for card, begin, end, name in sorted(spans, key=lambda span: (span[0], span[1])):
        before = last.get(card)
        if before and begin < before[0]:
            found.append(f"card {card}: {before[1]} and {name}")
        if not before or end > before[0]:
            last[card] = (end, name)
    return found


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def parse(text):
    whole, _, fraction = text.removesuffix("Z").partition(".")
    at = datetime.datetime.fromisoformat(f"{whole}+00:00")
    return at + datetime.timedelta(seconds=float(f"0.{fraction or 0}"))
