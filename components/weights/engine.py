"""One pass over the ingredients' bytes evaluates a plan: memory grows with neither the number nor the size of the ingredients.

Any range of the result can be computed on its own, so that threads and nodes share the work without a word between them. Values are
multiplied by integer numerators, summed in float64 in the order of the ingredients' digests, and divided once: the mean of equal
tensors is then bit-equal to each of them, and neither order, threads nor the size of a slab can show.
"""

from __future__ import annotations

import contextlib
import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from components.types import File, in_order
from components.weights import ahead, files
from components.weights.destination import Destination, destination
from components.weights.files import CHUNK
from components.weights.layout import AVERAGED, DTYPES, Entry, narrow, raw_bytes, render, widen
from components.weights.parts import Reader
from components.weights.plan import Plan, Slot
from components.weights.policy import NotFinite
from components.weights.threads import cores, ordered

SLAB = 1 << 18  # values at once from a disk: the partial sums stay in cache, and threads seldom meet at the interpreter's lock
UPLOADS = 2  # chunks on their way to a remote store
ITEM = 16  # chunks of a file that one node makes in one go
BLEND = 1 << 23  # bytes of float64 values that a method gets at once, in each thread
STEP = 1 << 20  # bytes of the result at once, where all is on disks
KEPT = 256  # files that stay open

Slab = tuple[Slot, int, int]  # slot, first value, number of values


@contextlib.contextmanager
def opened(plan: Plan) -> Iterator[Mapping[int, Reader]]:
    """The readers of all sources that the plan uses."""
    brief = sum(len(plan.sources[i].part.urls) for i in plan.used) > KEPT
    with contextlib.ExitStack() as stack:
        readers: dict[int, Reader] = {}
        for i in plan.used:
            readers[i] = _Brief(plan.sources[i].part) if brief else plan.sources[i].part.reader()
            stack.callback(readers[i].close)
        yield readers


class _Brief:
    """A reader that opens its file for each read: there are more of them than a process may hold open."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def read(self, start: int, buffer: memoryview) -> None:
        with contextlib.closing(self.part.reader()) as reader:
            reader.read(start, buffer)

    def close(self) -> None:
        """Nothing is open."""


class Evaluator:
    """Computes ranges of a plan's bytes, in one thread: it owns the buffers."""

    def __init__(self, plan: Plan, readers: Mapping[int, Reader]) -> None:
        self.plan, self.readers = plan, readers
        self.remote = ahead.is_remote(plan)
        self._expected, self._coming = False, self._arriving(())
        self._raw = np.empty(0 if self.remote else SLAB * 8, np.uint8)
        self._total, self._wide, self._gathered = np.empty(max(1, ahead.PIECE // 4) if self.remote else SLAB), np.empty(SLAB), np.empty((0, 0))

    def fill(self, start: int, out: memoryview) -> None:
        """Write the bytes [start, start + len(out)) of the result's tensors into `out`; both are bounds of values."""
        if not self._expected:
            self._coming = self._arriving(self.slabs(start, start + len(out)))
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found below
            for slot, low, count in self.slabs(start, start + len(out)):
                size = count * DTYPES[slot.entry.dtype].itemsize
                self._slab(slot, low, count, out[:size])
                out = out[size:]

    def slabs(self, start: int, stop: int) -> Iterator[Slab]:
        """Those that cover a range of the result's bytes."""
        at = bisect_right(self.plan.starts, start) - 1
        while start < stop:
            slot = self.plan.slots[at]
            width = DTYPES[slot.entry.dtype].itemsize
            most = len(self._total)
            if self.remote:
                most = min(most, ahead.PIECE // max(DTYPES[entry.dtype].itemsize for _, _, entry in slot.sources))
            if slot.kind == "blended":
                most = min(most, BLEND // 8 // len(slot.sources))
            most = max(1, most)
            low, high = (start - slot.entry.start) // width, (min(stop, slot.entry.stop) - slot.entry.start) // width
            yield from ((slot, first, min(most, high - first)) for first in range(low, high, most))
            start, at = max(start, min(stop, slot.entry.stop)), at + 1

    def _slab(self, slot: Slot, low: int, count: int, out: memoryview) -> None:
        result = np.frombuffer(out, DTYPES[slot.entry.dtype])
        if slot.kind == "averaged" and not slot.alone:
            self._average(slot, low, count, result)
        elif slot.kind == "blended":
            assert self.plan.method is not None
            combined = self.plan.method.combine(self.gather(slot, low, count), slot.keys[0][0], low, self.plan.prepared)
            _narrow(combined, slot.entry.dtype, result)
        else:
            self._copy(slot, low, count, result)
        if slot.kind in ("averaged", "blended") and not _finite(result):
            self._explain(slot, low, count, result)

    def expect(self, slabs: Iterable[Slab]) -> None:
        """Say all that will be asked for, in order: from a remote store it is fetched ahead."""
        self._expected, self._coming = True, self._arriving(slabs)

    def _arriving(self, slabs: Iterable[Slab]) -> Iterator[np.ndarray]:
        requests = ((i, *_bytes(entry, low, count)) for slot, low, count in slabs for i, _, entry in slot.sources)
        return ahead.arriving(self.plan.sources, self.readers, requests if self.remote else ())

    def gather(self, slot: Slot, low: int, count: int) -> list[np.ndarray]:
        """The slab of every source, each as a float64 array; they may be overwritten, and are valid until the next are gathered."""
        if self._gathered.shape != (len(slot.sources), count):  # fresh memory would cost more than the arithmetic
            self._gathered = np.empty((len(slot.sources), count))
        for k, values in enumerate(self._gathered):
            np.copyto(values, widen(self._read(slot, k, low, count)))
        return list(self._gathered)

    def _average(self, slot: Slot, low: int, count: int, result: np.ndarray) -> None:
        """The linear combination of one slab, rounded once to the result's dtype."""
        below, factors = slot.factors
        starts = range(0, count, SLAB)
        for k, factor in enumerate(factors):
            raw = self._read(slot, k, low, count)
            for start in starts:
                values, total = widen(raw[start : start + SLAB]), self._total[start : min(start + SLAB, count)]
                if k == 0:
                    np.copyto(total, values)
                    if factor != 1:
                        total *= factor
                elif factor == 1:
                    total += values
                else:
                    wide = self._wide[: len(values)]
                    np.copyto(wide, values)
                    wide *= factor
                    total += wide
        for start in starts:
            total = self._total[start : min(start + SLAB, count)]
            if below & (below - 1) == 0 and below > 1:
                total *= 1 / below  # a power of two: as exact, and faster
            elif below > 1:
                total /= below
            _narrow(total, slot.entry.dtype, result[start : start + SLAB])

    def _copy(self, slot: Slot, low: int, count: int, result: np.ndarray) -> None:
        """The first source's values; where a slot is `equal`, the others must be the same."""
        if self.remote:
            result[...] = self._read(slot, 0, low, count)
        else:
            i, _, entry = slot.sources[0]
            self.readers[i].read(_bytes(entry, low, count)[0], raw_bytes(result))
        for k in range(1, len(slot.sources) if slot.kind == "equal" else 1):
            other = self._read(slot, k, low, count)
            if raw_bytes(other) != raw_bytes(result):
                unlike = np.frombuffer(raw_bytes(other), np.uint8) != np.frombuffer(raw_bytes(result), np.uint8)  # 0.0 is not -0.0
                key = slot.key(low + int(unlike.argmax()) // result.itemsize)
                names = [self.plan.sources[slot.sources[j][0]].name for j in (0, k)]
                raise ValueError(f"cannot average {names[0]} with {names[1]}: {key} is {slot.entry.dtype}, is never averaged, and differs")

    def _read(self, slot: Slot, k: int, low: int, count: int) -> np.ndarray:
        """Values of the slot's source number k; valid until the next are read."""
        i, _, entry = slot.sources[k]
        if self.remote:
            return next(self._coming).view(DTYPES[entry.dtype])
        start, stop = _bytes(entry, low, count)
        piece = self._raw[: stop - start]
        assert len(piece) == stop - start, "a slab larger than the buffer"
        self.readers[i].read(start, raw_bytes(piece))
        return piece.view(DTYPES[entry.dtype])

    def _explain(self, slot: Slot, low: int, count: int, result: np.ndarray) -> None:
        """Read the slab once more to name the ingredient and the key that brought NaN or infinity in, or the value that does not fit."""
        at = int(np.flatnonzero(~np.isfinite(widen(result)))[0])
        value = 0.0
        for i, number, entry in slot.sources:
            start, stop = _bytes(entry, low, count)
            raw = np.empty(stop - start, np.uint8)
            self.readers[i].read(start, raw_bytes(raw))
            values = widen(raw.view(DTYPES[entry.dtype]))
            bad = np.flatnonzero(~np.isfinite(values))
            if len(bad):
                raise NotFinite(self.plan.sources[i].name, slot.key(low + int(bad[0])), float(values[bad[0]]))
            value += float(number) * float(values[at])
        told = f"{value:.4g}" if slot.kind == "averaged" else "too large"
        raise ValueError(
            f"{slot.key(low + at)} becomes {told}, which {AVERAGED[slot.entry.dtype]} cannot hold; "
            "ask for a wider dtype, or for smaller coefficients"
        )


def _bytes(entry: Entry, low: int, count: int) -> tuple[int, int]:
    width = DTYPES[entry.dtype].itemsize
    return entry.start + low * width, entry.start + (low + count) * width


def _narrow(values: np.ndarray, code: str, out: np.ndarray) -> None:
    if code == "BF16":
        out[...] = narrow(values, code)
    else:
        np.copyto(out, values, casting="same_kind")


def _finite(values: np.ndarray) -> bool:
    """Whether all are; a sum is faster to look at, and can only be suspected too often."""
    wide = widen(values)
    return bool(np.isfinite(np.add.reduce(wide, dtype=np.float32 if wide.dtype == np.float32 else np.float64)) or np.isfinite(wide).all())


def each(
    plan: Plan,
    make: Callable[[Evaluator], Callable[[Any], Any]],
    items: Sequence[Any],
    reads: Callable[[Evaluator, Any], Iterable[Slab]],
    threads: int = 0,
) -> Iterator[Any]:
    """What `make(evaluator)(item)` gives for each item, in order, computed by all cores; `reads` says which slabs an item asks for.

    Where sources are remote, one thread computes what others bring.
    """
    with opened(plan) as readers:
        if not ahead.is_remote(plan):
            yield from ordered(lambda: make(Evaluator(plan, readers)), items, threads or cores())
            return
        evaluator = Evaluator(plan, readers)
        evaluator.expect(slab for item in items for slab in reads(evaluator, item))
        yield from map(make(evaluator), items)


def write(
    plan: Plan, folder: str, name: str, unless: str, map: Callable[..., Any] = in_order, progress: Callable[[int], None] | None = None
) -> File:
    """Evaluate a plan into a safetensors file. If anything fails, nothing of the file is left to be found.

    unless: as for `destination`. map: spreads chunks over nodes. progress: told the bytes of each chunk, where one process makes them.
    """
    header = render(plan.layout)
    size = len(header) + plan.size
    target = destination(files.join(folder, name), unless)
    count = -(-size // CHUNK)
    try:
        target.begin(size)
        if map is in_order or not target.parallel or count <= ITEM:
            done = chunks(plan, header, target, 0, count, progress)
        else:
            items = [{"plan": plan, "header": header, "target": target, "first": i, "last": min(i + ITEM, count)} for i in range(0, count, ITEM)]
            done = [each for made in map(chunks, items) for each in made]
        target.commit([receipt for _, receipt in done])
    except BaseException:
        target.abandon()
        raise
    return File(name, size, files.joined(inner for inner, _ in done))


def chunks(
    plan: Plan, header: bytes, target: Destination, first: int, last: int, progress: Callable[[int], None] | None = None
) -> list[tuple[bytes, Any]]:
    """Compute, hash and write the chunks [first, last) of a file: (sha256, receipt) of each."""
    size = len(header) + plan.size
    step = CHUNK if target.remote or ahead.is_remote(plan) else STEP

    def make(evaluator: Evaluator) -> Callable[[int], tuple[bytes, Any]]:
        buffer = memoryview(bytearray(min(step, size)))

        def chunk(index: int) -> tuple[bytes, Any]:
            inner, put, stop = hashlib.sha256(), None, min((index + 1) * CHUNK, size)
            for start in range(index * CHUNK, stop, len(buffer)):
                piece = buffer[: min(len(buffer), stop - start)]
                lead = header[start : start + len(piece)]
                piece[: len(lead)] = lead
                evaluator.fill(max(0, start - len(header)), piece[len(lead) :])
                inner.update(piece)
                put = (start, bytes(piece)) if target.remote else target.put(start, piece)
            return inner.digest(), put

        return chunk

    def reads(evaluator: Evaluator, index: int) -> Iterable[Slab]:
        return evaluator.slabs(max(0, index * CHUNK - len(header)), min((index + 1) * CHUNK, size) - len(header))

    made = each(plan, make, range(first, last), reads, UPLOADS if target.remote else 0)
    if target.remote:
        streams = UPLOADS if target.parallel else 1
        made = ordered(lambda: lambda one: (one[0], target.put(*one[1])), made, streams, streams - 1)
    done = []
    for index, one in enumerate(made, first):
        done.append(one)
        if progress:
            progress(min(CHUNK, size - index * CHUNK))
    return done
