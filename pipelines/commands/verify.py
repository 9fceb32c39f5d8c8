"""`stockpot verify`: every file of every record by size and digest; damaged ones are named, and the exit code is then 5."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from components.weights.files import digest_of
from infra import settings
from infra.errors import INTEGRITY, OK
from infra.store.verify import verify
from pipelines.commands.session import open_store
from pipelines.commands.studies import Where, parse
from pipelines.commands.text import clock, size

USAGE = "usage: stockpot verify [--store URL]"


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Where, USAGE)
    if words:
        raise ValueError(f"{words[0]!r} is one word too many; {USAGE}")
    store = open_store(options, create=False)
    files = total = damaged = 0
    started = shown = time.monotonic()
    for file in verify(store, digest_of):
        files, total = files + 1, total + file.size
        if file.damage:
            damaged += 1
            print(f"damaged: {file.url}: {file.damage}; remove its folder and run the study again", flush=True)
        if time.monotonic() - shown > (0.2 if settings.on_terminal() else 10.0):
            shown = time.monotonic()
            print(f"  {files} files, {size(total)}", end="\r" if settings.on_terminal() else "\n", file=sys.stderr, flush=True)
    state = f"{damaged} damaged" if damaged else "all as recorded"
    print(f"{store.url}: {files} files, {size(total)} in {clock(time.monotonic() - started)}: {state}")
    return INTEGRITY if damaged else OK
