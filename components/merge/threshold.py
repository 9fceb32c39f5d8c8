"""The m-th largest of very many magnitudes: exactly, in bounded memory, and as a rule in one pass over them.

A sample says between which two values it should lie; the pass counts what is above and keeps what is between. Where the sample misled,
or more lies between than may be kept, the next pass looks at a better interval. What is found does not depend on any of this.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from components.weights.scan import BESIDE

if TYPE_CHECKING:
    from components.weights.scan import Scan

BLOCK = 1 << 17  # values at once: smaller ones stay in cache, but threads then wait for the interpreter more than for memory
PLACES, LENGTH = 512, 512  # of a model's sample, fewer places where there are many models
SAMPLE = 1 << 21  # values of all models' samples together
HELD = BESIDE // 8 - SAMPLE  # values kept between the bounds, of all models together
BITS = 12  # of the bins that count what is not kept
SMALLEST, BEYOND = 1, 0x7FF0000000000001  # the bits of the first positive float64, and those after infinity's

Magnitudes = Callable[[str, int, Sequence[np.ndarray]], Iterator[tuple[int, np.ndarray]]]


class Search:
    """One model's search: magnitudes with bits in [low, high) are looked at; positive float64s are ordered as their bits are.

    sample: magnitudes; rank: which of `count` is wanted, 1 is the largest; room: how many may be kept.
    """

    def __init__(self, sample: np.ndarray, rank: int, count: int, room: int) -> None:
        self.sample, self.rank, self.count, self.room = np.sort(sample[~np.isnan(sample)])[::-1], rank, count, room
        self.margin = max(room / count / 3, 1 / len(sample))  # a share of all; what lies between the first bounds fits the room
        self.found: float | None = None
        self.kept = np.empty(min(room, count))
        self.lock = threading.Lock()
        self._look(self._edge(-1), self._edge(1))

    def _edge(self, side: int) -> int:
        """The bits of the sample's value one margin before (-1) or after the wanted rank; the end of all where the sample ends."""
        at = round((self.rank / self.count + side * self.margin) * len(self.sample))
        if at < 0 or not len(self.sample):
            return BEYOND if side < 0 else SMALLEST
        return max(SMALLEST, int(self.sample[at : at + 1].view(np.int64)[0])) if at < len(self.sample) else SMALLEST

    def _look(self, high: int, low: int) -> None:
        self.low, self.high = low, max(high, low + 1)
        self.shift = max(0, (self.high - self.low - 1).bit_length() - BITS)
        self.above, self.held = 0, 0
        self.bins = np.zeros(1 << BITS, np.int64)
        self.least, self.most = (np.array([bits], np.int64).view(np.float64)[0] for bits in (self.low, self.high))

    def see(self, magnitudes: np.ndarray) -> None:
        """Count and keep; any number of threads."""
        above = magnitudes >= self.most
        between = magnitudes >= self.least
        between ^= above
        inside, beyond = magnitudes[between], int(np.count_nonzero(above))
        with self.lock:
            before, self.above, self.held = self.held, self.above + beyond, self.held + len(inside)
            if self.held <= self.room:
                self.kept[before : self.held] = inside
            else:
                for values in (self.kept[:before], inside) if before <= self.room else (inside,):
                    self.bins += np.bincount((values.view(np.int64) - self.low) >> self.shift, minlength=1 << BITS)

    def conclude(self) -> None:
        """After a pass: the answer, or where to look next."""
        left = self.rank - self.above  # which of those between, from the largest
        if left <= 0:
            self.margin *= 4
            self._look(max(self._edge(-1), self.high + 1) if self.high < BEYOND else BEYOND, self.high)
        elif left > self.held:
            self.margin *= 4
            if self.low == SMALLEST:
                self.found = 0.0
            else:
                self._look(self.low, min(self._edge(1), self.low - 1))
        elif self.held <= self.room:
            values = self.kept[: self.held]
            values.partition(self.held - left)
            self.found = float(values[self.held - left])
        else:
            bin = int(np.searchsorted(np.cumsum(self.bins[::-1]), left))
            first = self.low + (((1 << BITS) - 1 - bin) << self.shift)
            if self.shift == 0:
                self.found = float(np.array([first], np.int64).view(np.float64)[0])
            else:
                self._look(min(self.high, first + (1 << self.shift)), first)


def largest(scan: Scan, rank: int, magnitudes: Magnitudes) -> tuple[float, ...]:
    """For each model, the magnitude of which `rank` are as large or larger (more where some are equal); 0 where fewer are positive.

    magnitudes: from a slab to (which model, a block of its magnitudes), float64.
    """
    samples: dict[int, list[np.ndarray]] = {}
    for row in scan(lambda key, low, values: [(i, block.copy()) for i, block in magnitudes(key, low, values)], places(scan)):
        for i, block in row:
            samples.setdefault(i, []).append(block)
    room = HELD // len(samples)
    searches = [Search(np.concatenate(samples.pop(i)), rank, scan.count, room) for i in sorted(samples)]

    def visit(key: str, low: int, values: Sequence[np.ndarray]) -> None:
        for i, block in magnitudes(key, low, values):
            if searches[i].found is None:
                searches[i].see(block)

    while any(search.found is None for search in searches):
        for _ in scan(visit):
            pass
        for search in searches:
            if search.found is None:
                search.conclude()
    return tuple(search.found or 0.0 for search in searches)


def places(scan: Scan) -> list[tuple[str, int, int]]:
    """(tensor, first value, count) at equal distances over all tensors, one after another."""
    most = max(1, min(PLACES, SAMPLE // LENGTH // len(scan.order)))
    step, found, skip = max(LENGTH, -(-scan.count // most)), [], 0
    for key, entry in scan.keys.items():
        found += [(key, low, min(LENGTH, entry.count - low)) for low in range(skip, entry.count, step)]
        skip = (skip - entry.count) % step
    return found
