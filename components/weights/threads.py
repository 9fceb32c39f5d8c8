"""Work spread over the cores of this process, its results in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


MOST = 8  # threads: each has buffers of its own, and these keep a disk busy


def cores() -> int:
    """How many threads are worth their memory: the cores that this process may use, but no more than MOST."""
    return min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def ordered(make: Callable[[], Callable[[T], R]], items: Iterable[T], threads: int, ahead: int | None = None) -> Iterator[R]:
    """What the function that `make` gives to each thread says of each item, in their order; `ahead` are begun before they are asked for.

    The first error in that order is raised, after the threads have ended.
    """
    if threads == 1 and ahead is None:
        yield from map(make(), items)
        return
    own = threading.local()

    def call(item: T) -> R:
        if not hasattr(own, "call"):
            own.call = make()
        result: R = own.call(item)
        return result

    begun: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                begun.append(pool.submit(call, item))
                if len(begun) > (2 * threads if ahead is None else ahead):
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
