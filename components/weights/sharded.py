"""Several files of tensors as one: the shards of a Hugging Face index, or parts of which some tensors are taken under other names."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from components.types import DataError
from components.weights import files
from components.weights.layout import Entry, Layout, some
from components.weights.parts import Part, Reader, Stored

INDEX = ".index.json"


class Joined:
    """One part over the data sections of several, laid end to end; nothing is read before its bytes are wanted.

    pieces: each part with the layout of what is taken from it, by the keys that it gets here; `None` takes everything as it is.
    """

    def __init__(self, label: str, pieces: Sequence[tuple[Part, Layout | None]]) -> None:
        self.label, self.pieces = label, list(pieces)
        self.recorded = all(part.recorded for part, _ in pieces)
        self.check = any(part.check for part, _ in pieces)

    @cached_property
    def _starts(self) -> list[int]:
        """Where each part begins, and the end of the last."""
        starts = [0]
        for part, _ in self.pieces:
            starts.append(starts[-1] + max((entry.stop for entry in part.layout.values()), default=0))
        return starts

    @cached_property
    def layout(self) -> Layout:
        """Key -> entry, part after part. DataError for a key that two of them hold."""
        found: dict[str, Entry] = {}
        for (part, taken), low in zip(self.pieces, self._starts, strict=False):
            for key, entry in (part.layout if taken is None else taken).items():
                if key in found:
                    raise DataError(f"{self.label}: {key} is in two files, one of them {part.label}; fetch or write them again")
                found[key] = replace(entry, start=entry.start + low, stop=entry.stop + low)
        return found

    @cached_property
    def digest(self) -> str:
        """The sha256 of the parts' digests and of what is taken from them."""
        told = [f"{part.digest} {'' if taken is None else list(taken.items())}" for part, taken in self.pieces]
        return ("" if self.recorded else "sampled-") + hashlib.sha256("\n".join(told).encode()).hexdigest()

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(part, its first byte, its last byte + 1) of the bytes [start, stop), in order."""
        at = bisect_right(self._starts, start) - 1
        while start < stop:
            low, high = self._starts[at], self._starts[at + 1]
            if start < high:
                yield at, start - low, min(stop, high) - low
                start = high
            at += 1

    def extents(self, start: int, stop: int) -> list[tuple[str, int, int]]:
        """(url, first byte, last byte + 1) of the tensors' bytes [start, stop), in order."""
        return [extent for at, low, high in self.spans(start, stop) for extent in self.pieces[at][0].extents(low, high)]

    @property
    def urls(self) -> list[str]:
        return [url for part, _ in self.pieces for url in part.urls]

    def reader(self) -> Reader:
        return _JoinedReader(self)

    def verify(self) -> None:
        """Each part against its record."""
        for part, _ in self.pieces:
            part.verify()


class _JoinedReader:
    """Opens a part when it is first read: few reads need them all."""

    def __init__(self, joined: Joined) -> None:
        self.joined = joined
        self.readers: dict[int, Reader] = {}

    def read(self, start: int, buffer: memoryview) -> None:
        filled = 0
        for at, low, high in self.joined.spans(start, start + len(buffer)):
            reader = self.readers.get(at) or self.readers.setdefault(at, self.joined.pieces[at][0].reader())
            reader.read(low, buffer[filled : filled + high - low])
            filled += high - low

    def close(self) -> None:
        for reader in self.readers.values():
            reader.close()


def sharded(url: str) -> Joined:
    """The shards of an index, `{"weight_map": {key: file in the same folder}}`. Only the index is read here.

    DataError, once the layout is asked for, where index and shards do not tell of the same keys; ValueError never.
    https://huggingface.co/docs/transformers/big_models: the format of the index.
    """
    index = files.document(url)
    if index is None:
        raise DataError(f"{url} is missing; fetch it again")
    listed = index.get("weight_map")
    if not isinstance(listed, dict) or not listed or not all(isinstance(name, str) for name in listed.values()):
        raise DataError(f"{url} has no weight_map from keys to files; fetch it again")
    for name in listed.values():
        if not name or name.startswith(".") or set(name) & set("/\\%#?:\0") or not name.endswith(".safetensors"):
            raise DataError(f"{url} lists the file {name!r}, which is not the plain name of a safetensors file; it was not opened")
    folder = url.rpartition("/")[0] or "."
    names = sorted(set(listed.values()))
    shards = [Stored(files.join(folder, name), files.join(folder, name)) for name in names]
    return _Sharded(url, shards, {key: str(name) for key, name in listed.items()})


class _Sharded(Joined):
    def __init__(self, url: str, shards: Sequence[Stored], listed: dict[str, str]) -> None:
        super().__init__(url, [(shard, None) for shard in shards])
        self.listed = listed

    @cached_property
    def layout(self) -> Layout:
        """The joined layout, checked against the index."""
        for part, _ in self.pieces:
            name = part.label.rpartition("/")[2]
            wanted = {key for key, file in self.listed.items() if file == name}
            if missing := sorted(wanted - part.layout.keys()):
                raise DataError(f"{part.label} lacks {some(missing)}, which {self.label} lists there; fetch it again")
            if extra := sorted(part.layout.keys() - wanted):
                raise DataError(f"{part.label} holds {some(extra)}, which {self.label} does not list there; fetch it again")
        return super().layout
