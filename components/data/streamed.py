"""Images of a source that is larger than the node's cache: read from where they lie each time, by way of pieces that the cache keeps.

The index is made in the first pass over the source: where the bytes of each example lie, and their sha256, so that whatever is read later,
in whatever parts, is checked. Neighbours make a piece. Where the examples that training mixes at a time (a window of `order`) fit into half of
the cache, all is read in pieces, each once a window; else as many pieces as fit into that half are kept, and single examples come by
themselves, near ones together.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data import cache, decode, order
from components.data.examples import Image
from components.data.pieces import Pieces
from components.types import DataError, Run

PIECE = 1 << 23  # bytes
BATCH = 1 << 24  # bytes of examples that are asked for at once, each by itself
READERS = 8
NEXT = 3  # pieces that are fetched ahead of who reads in order
DIGEST = 16  # bytes

Place = tuple[int, int, int]  # unit of the source (a file, or a part of one), where it begins there, bytes
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Origin:
    """How to read again what a reader's rows were made of: `fetch` gives the bytes of sorted places; `whole` units are fetched at once."""

    fetch: Callable[[Sequence[Place]], list[bytes]]
    where: Callable[[int], str]
    whole: bool = False


def digest(content: bytes) -> bytes:
    """What the index remembers of an example's bytes."""
    return hashlib.sha256(content).digest()[:DIGEST]


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(READERS, thread_name_prefix="pieces")


class Streamed:
    """Images by index. offsets int64 [N + 1]: the bytes of all examples end to end; places int64 [N, 2], digests uint8 [N, 16], shapes [N, 2]."""

    def __init__(self, columns: dict[str, NDArray[Any]], channels: int, origin: Origin, run: Run, folder: str) -> None:
        self.offsets, self.places, self.digests, self.shapes = (columns[name] for name in ("offsets", "places", "digests", "shapes"))
        self.channels, self.origin, self.pieces = channels, origin, Pieces(run)
        self.index, self._held = folder, cache.mapped(os.path.join(folder, "digests.npy"))  # not for its own pieces does the index go
        self.starts = self._cut()
        sizes = self.offsets[self.starts[1:]] - self.offsets[self.starts[:-1]]
        self.budget = run.cache_limit // 2
        window = int(self.offsets[-1]) * order.SHARD * order.WINDOW // len(self)
        fits = len(sizes) if origin.whole or window <= self.budget < int(self.offsets[-1]) else int(np.searchsorted(np.cumsum(sizes), self.budget))
        largest = int(sizes.max(initial=0))
        if origin.whole and largest > self.budget:
            where = origin.where(int(self.places[self.starts[int(sizes.argmax())], 0]))
            raise ValueError(
                f"{where}: {largest} bytes of it are read at once, more than half of the cache of {run.cache_limit}: each batch would read them all "
                "again; raise --cache_limit, or write it with smaller row groups"
            )
        self.kept = fits if largest <= self.budget else 0
        self._coming: dict[int, Future[bool]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> Image:
        return self.many(np.array([index]))[0]

    def many(self, indices: Indices) -> list[Image]:
        """Some images, in the order asked for."""
        asked, back = np.unique(indices, return_inverse=True)
        if len(asked) and not 0 <= asked[0] <= asked[-1] < len(self):
            raise IndexError(f"{asked[0]} to {asked[-1]} of {len(self)}")
        if len(asked) > 1 and asked[-1] - asked[0] < 2 * len(asked):  # in order: what follows will be asked for
            last = int(self._piece(asked[-1:])[0])
            self.bring(np.arange(last, min(last + 1 + NEXT, self.kept)))
        images = [self._image(content, int(index)) for content, index in zip(self._contents(asked), asked, strict=True)]
        return [images[k] for k in back]

    def wanted(self, indices: Indices) -> dict[int, int]:
        """{piece: bytes} of what is read in pieces for these examples."""
        found = np.unique(self._piece(np.asarray(indices)))
        return {int(piece): self._size(int(piece)) for piece in found if piece < self.kept}

    def bring(self, pieces: Sequence[int] | Indices) -> list[Future[bool]]:
        """Have some pieces fetched, unless they are here or on their way."""
        with self._lock:
            self._coming = {piece: future for piece, future in self._coming.items() if not future.done()}
            found = [self._coming.get(int(piece)) or _pool().submit(self._bring, int(piece)) for piece in pieces]
            self._coming.update(zip(map(int, pieces), found, strict=True))
        return found

    def _cut(self) -> Indices:
        """The first example of each piece, and the end: int64 [pieces + 1]."""
        if self.origin.whole:
            return np.concatenate([[0], np.flatnonzero(np.diff(self.places[:, 0])) + 1, [len(self)]])
        return np.append(np.unique(np.asarray(self.offsets[:-1]) // PIECE, return_index=True)[1], len(self))

    def _piece(self, indices: Indices) -> Indices:
        return np.searchsorted(self.starts, indices, side="right") - 1

    def _size(self, piece: int) -> int:
        return int(self.offsets[self.starts[piece + 1]] - self.offsets[self.starts[piece]])

    def _name(self, piece: int) -> str:
        some = slice(int(self.starts[piece]), int(self.starts[piece + 1]))
        content = hashlib.sha256(np.ascontiguousarray(self.digests[some]).tobytes())
        content.update(np.diff(self.offsets[some.start : some.stop + 1]).tobytes())
        return content.hexdigest()

    def _bring(self, piece: int) -> bool:
        cache.used(self.index)
        members = np.arange(self.starts[piece], self.starts[piece + 1])
        return self.pieces.bring(self._name(piece), self._size(piece), lambda: b"".join(self._fetch(members)))

    def _contents(self, asked: Indices) -> list[bytes]:
        """The bytes of examples at rising indices."""
        owner = self._piece(asked)
        here = self.bring(np.unique(owner[owner < self.kept]))
        found: dict[int, bytes] = {}
        alone = [asked[owner >= self.kept]]
        for future, piece in zip(here, np.unique(owner[owner < self.kept]), strict=True):
            future.result()
            members, start = asked[owner == piece], self.offsets[self.starts[piece]]
            spans = [(int(self.offsets[k] - start), int(self.offsets[k + 1] - start)) for k in members]
            contents = self.pieces.read(self._name(int(piece)), self._size(int(piece)), spans)
            if contents is not None and self._unlike(members, contents) >= 0:  # the machine went down before they were on its disk
                self.pieces.remove(self._name(int(piece)))
                contents = None
            if contents is None:  # there is no room, or others needed it
                alone.append(members)
            else:
                found.update(zip(members.tolist(), contents, strict=True))
        rest = np.sort(np.concatenate(alone))
        cuts = np.flatnonzero(np.diff(np.cumsum(np.diff(self.offsets)[rest] if len(rest) else []) // BATCH)) + 1
        for some in np.split(rest, cuts):
            found.update(zip(some.tolist(), self._fetch(some), strict=True))
        return [found[int(index)] for index in asked]

    def _fetch(self, members: Indices) -> list[bytes]:
        """The bytes of examples from where they lie, verified."""
        places = [(int(self.places[k, 0]), int(self.places[k, 1]), int(self.offsets[k + 1] - self.offsets[k])) for k in members]
        ranked = sorted(range(len(places)), key=places.__getitem__)
        found = dict(zip(ranked, self.origin.fetch([places[k] for k in ranked]) if places else [], strict=True))
        contents = [found[k] for k in range(len(members))]
        if (k := self._unlike(members, contents)) >= 0:
            raise DataError(f"{self.origin.where(places[k][0])}: its content is not what was pinned; run again to pin the data anew")
        return contents

    def _unlike(self, members: Indices, contents: Sequence[bytes]) -> int:
        """The first whose bytes are not those of the first pass, or -1."""
        pairs = enumerate(zip(members, contents, strict=True))
        return next((k for k, (member, content) in pairs if digest(content) != self.digests[member].tobytes()), -1)

    def _image(self, content: bytes, index: int) -> Image:
        if not self.channels:
            return decode.decode(content)
        return decode.rgb(np.frombuffer(content, np.uint8).reshape(*self.shapes[index], self.channels))
