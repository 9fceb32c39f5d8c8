"""`stockpot verify`: every file of every record by size and digest; damaged ones are named, and the exit code is then 5."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from components.weights.chunks import hashed
from infra import settings
from infra.errors import INTEGRITY, OK
from infra.store.verify import Checked, Expected, Seen, expected, recorded, verify
from pipelines.commands.bar import Meter
from pipelines.commands.session import named, open_store
from pipelines.commands.studies import Where, option, parse
from pipelines.commands.text import clock, counted, size

USAGE = "usage: stockpot verify [STORE] [--again]   (an interrupted one goes on where it was)"


@dataclass(frozen=True)
class Options(Where):
    """What to verify."""

    again: bool = option(False, "read again what an interrupted verification found sound")


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    store = open_store(named(words, options, USAGE), create=False)
    path = os.path.join(settings.state_folder(store.url), "verified.jsonl")
    if options.again and os.path.exists(path):
        os.unlink(path)
    seen, wanted = Seen(path), list(expected(store))
    files = [file for file in wanted if isinstance(file, Expected)]
    left = [file for file in files if file not in seen]
    if len(left) < len(files):
        print(f"{len(files) - len(left)} of {counted(len(files), 'file')} were found sound before; --again reads them too", flush=True)
    started, damaged, total = time.monotonic(), 0, sum(file.size for file in left)
    with Meter("verify", total) as meter:
        for file, damage in itertools.chain((each for each in wanted if isinstance(each, Checked)), verify(store.place, left, hashed, meter.add)):
            if damage and file.digest and not recorded(store, file):
                continue
            if damage:
                damaged += 1
                print(f"damaged: {store.place.at(file.name)}: {damage}; remove its folder and run the study again", flush=True)
            else:
                seen.add(file)
    seen.forget()
    state = f"{damaged} damaged" if damaged else "all as recorded"
    taken = time.monotonic() - started
    print(f"{store.url}: {counted(len(left), 'file')}, {size(total)} in {clock(taken)}, {size(total / max(taken, 1e-3))}/s: {state}")
    return INTEGRITY if damaged else OK
