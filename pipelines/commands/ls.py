"""`stockpot ls [STORE]`: one line for each node of a store: what became of it, how much it keeps, how old it is and what it was made with."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from infra.store import Store
from infra.store.inventory import Listed, keys, listed
from pipelines.commands.session import named, open_store
from pipelines.commands.studies import Where, option, parse
from pipelines.commands.text import clock, columns, counted, size

USAGE = "usage: stockpot ls [STORE] [--function NAME] [--json]   (stockpot show KEY tells all of one)"


@dataclass(frozen=True)
class Options(Where):
    """What to list."""

    function: str = option("", "only nodes of this function, e.g. train")
    json: bool = option(False, "as JSON")


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    store = open_store(named(words, options, USAGE), create=False)
    there = listed(store, keys(store, options.function))
    if options.json:
        print(json.dumps({"store": store.url, "nodes": [dataclasses.asdict(node) for node in there]}, indent=1))
        return 0
    print(*table(there), "", totals(store, there), sep="\n")
    return 0


def table(nodes: Sequence[Listed]) -> list[str]:
    """A line a node."""
    now = time.time()
    rows = [["key", "state", "took", "keeps", "age", "with"]]
    for node in nodes:
        took, kept = "" if node.seconds is None else f"{node.seconds:.1f} s", size(node.bytes) if node.bytes else ""
        rows.append([node.key, node.state, took, kept, age(now - node.started) if node.started else "", node.title])
    return columns(rows, right=(2, 3, 4))


def totals(store: Store, nodes: Sequence[Listed]) -> str:
    """The last line."""
    states = Counter(node.state.partition(":")[0].partition(" ")[0] for node in nodes)
    others = "".join(f", {count} {state}" for state, count in states.items() if state != "done")
    spent, kept = clock(sum(node.seconds or 0 for node in nodes)), size(sum(node.bytes or 0 for node in nodes))
    return f"{store.url}: {states['done']} of {counted(len(nodes), 'node')} done{others}, {spent} of work, {kept}"


def age(seconds: float) -> str:
    """5 min, 3 h, 12 d."""
    minutes = max(0.0, seconds) / 60
    return f"{minutes:.0f} min" if minutes < 60 else f"{minutes / 60:.0f} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} d"


def when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""
