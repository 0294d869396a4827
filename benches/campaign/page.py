"""The tables of docs/reliability.md, between two marks for each part."""


def write(path, part, text):
    begin, end = f"<!-- campaign {part}: begin (written by scripts/campaign) -->\n", "<!-- end -->"
    page = path.read_text(encoding="utf-8")
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise RuntimeError(f"{path} has no marks for {part}")
    path.write_text(f"{before}{begin}{text}\n{end}{after}", encoding="utf-8")


def table(head, rows):
    lines = [f"| {' | '.join(str(cell) for cell in row)} |" for row in [head, *rows]]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
