"""`stockpot copy FROM TO [KEY ...]`: finished nodes of one store in another, on disks or object storage; every stage is then a hit there."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from components.weights.chunks import chunk, hashed
from components.weights.destination import destination
from infra.errors import INTEGRITY, OK
from infra.store.copy import Copier, compare
from infra.store.inventory import keys
from infra.store.place import absolute
from pipelines.commands.bar import Meter
from pipelines.commands.session import open_store
from pipelines.commands.show import found
from pipelines.commands.studies import Where, parse
from pipelines.commands.text import clock, counted, size

USAGE = "usage: stockpot copy FROM TO [KEY ...]   (all finished nodes, or those whose keys begin so; an interrupted copy goes on)"


@dataclass(frozen=True)
class Options:
    """None: both stores are named by their addresses."""


def main(argv: Sequence[str]) -> int:
    words, _ = parse(argv, Options, USAGE)
    if len(words) < 2:
        raise ValueError(f"two stores are needed; {USAGE}")
    if absolute(words[0]) == absolute(words[1]):
        raise ValueError(f"{words[1]} is the store itself; name another")
    source, target = open_store(Where(words[0]), create=False), open_store(Where(words[1]))
    nodes = list(compare(source, target, [found(source, word) for word in words[2:]] or keys(source)))
    wanted = [node for node in nodes if not node.told]
    wrong = [node.told for node in nodes if node.told not in ("", "there")]
    copier = Copier(source, target, chunk, hashed, destination)
    beside = copier.beside(nodes, everything=not words[2:])
    total, done, started = sum(node.size for node in wanted), 0, time.monotonic()
    with Meter("copy and read back", 2 * total) as meter:
        for _, told in copier.copy(wanted, meter.add):
            done += not told
            wrong += [told] if told else []
    for told in wrong:
        print(f"not copied: {told}", file=sys.stderr)
    there = sum(node.told == "there" for node in nodes)
    parts = [f"{counted(done, 'node')} copied and read back, {size(total)} in {clock(time.monotonic() - started)}"]
    parts += [f"{there} were there"] * bool(there) + [f"{counted(beside, 'file')} of pins, manifests and reports"] * bool(beside)
    print(f"{target.url}: {', '.join(parts)}" + (f"; {len(wrong)} not copied" if wrong else ""))
    return INTEGRITY if wrong else OK
