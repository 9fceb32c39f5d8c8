"""What lies in remote stores, fetched before it is wanted: a request takes long, and several take hardly longer than one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from components.weights import files, ranges
from components.weights.layout import raw_bytes
from components.weights.parts import Reader
from components.weights.plan import Plan, Source
from components.weights.threads import ordered

PIECE = 1 << 24  # bytes that are asked for at once, in one request or in many small ones
AHEAD = 3  # how many of these are under way, or have come, while one is used

Request = tuple[int, int, int]  # source, and the bytes of its tensors


def is_remote(plan: Plan) -> bool:
    """Whether some of what a plan uses lies in a remote store."""
    return any(files.local(url) is None for i in plan.used for url in plan.sources[i].part.urls)


def arriving(sources: Sequence[Source], readers: Mapping[int, Reader], requests: Iterable[Request]) -> Iterator[np.ndarray]:
    """The bytes of each request, in order."""

    def fetch(batch: Sequence[Request]) -> list[np.ndarray]:
        extents = [sources[i].part.extents(start, stop) for i, start, stop in batch]
        sizes = [sum(last - first for url, first, last in one if files.local(url) is None) for one in extents]
        away = [size == stop - start for size, (_, start, stop) in zip(sizes, batch, strict=True)]  # else some lies here, or in memory
        found = iter(ranges.fetch([each for one, far in zip(extents, away, strict=True) if far for each in one]))
        made = []
        for (i, start, stop), one, far in zip(batch, extents, away, strict=True):
            if far:
                pieces = [np.frombuffer(next(found), np.uint8) for _ in one]
                made.append(pieces[0] if len(pieces) == 1 else np.concatenate(pieces))
            else:
                made.append(np.empty(stop - start, np.uint8))
                readers[i].read(start, raw_bytes(made[-1]))
        return made

    for made in ordered(lambda: fetch, batches(requests), AHEAD, AHEAD - 1):
        made.reverse()
        while made:
            yield made.pop()  # held by nobody but who uses it


def batches(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """Requests that follow each other, as many as PIECE bytes hold."""
    batch: list[Request] = []
    room = PIECE
    for i, start, stop in requests:
        if batch and stop - start > room:
            yield batch
            batch, room = [], PIECE
        batch.append((i, start, stop))
        room -= stop - start
    if batch:
        yield batch
