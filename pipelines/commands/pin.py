"""`stockpot pin URL ...`: hash data once, so that plans and runs find it by a listing."""

from __future__ import annotations

import time
from collections.abc import Sequence

from components.weights.digests import digests_of
from infra.secrets import redact
from infra.store.pins import Pins, sources
from pipelines.commands import bar
from pipelines.commands.session import open_store
from pipelines.commands.studies import Where, parse
from pipelines.commands.text import clock, counted, size
from pipelines.tasks import images

USAGE = "usage: stockpot pin URL ... [--store URL]\n\nURL: a folder, a file or a pattern of tars, as studies name it; known files are not read"


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Where, USAGE)
    if not words:
        raise ValueError(f"pin takes the URL of data; {USAGE.splitlines()[0]}")
    store = open_store(options)
    for url in (url for word in words for url in sources(images(word))):
        started = time.monotonic()
        with bar.shown(f"pinning {redact(url)}") as progress:
            found = Pins(store.place, digests_of).pin(url, progress)
        read = f"{counted(found.read, 'file')} read ({size(found.bytes_read)})" if found.read else "nothing read"
        took = clock(time.monotonic() - started)
        print(f"{redact(url)}: {counted(found.files, 'file')}, {size(found.bytes)}: {found.pin}; {read} in {took}", flush=True)
    return 0
