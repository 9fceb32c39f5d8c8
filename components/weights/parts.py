"""One file of tensors, stored or in memory: a layout, range reads of the bytes behind it, and the digest that tells it from others."""

from __future__ import annotations

import hashlib
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, Protocol

from components.types import DataError, File
from components.weights import files, ranges
from components.weights.layout import LONGEST, Entry, Layout, arrange, encode, parse, raw_bytes, render

SAMPLE = 1 << 20
BEGIN = 1 << 18  # bytes of a remote file that are read at once: most headers are shorter, and a request costs more


class Part(Protocol):
    """What the engine reads from. It can be pickled while it holds no tensors itself."""

    label: str
    recorded: bool  # the digest is of every byte, not of a sample
    check: bool  # it is to be verified before use

    @property
    def layout(self) -> Layout: ...

    @property
    def digest(self) -> str: ...

    @property
    def urls(self) -> Sequence[str]:
        """The files in which its bytes lie; none for what lies in memory."""
        ...

    def reader(self) -> Reader: ...

    def extents(self, start: int, stop: int) -> Sequence[tuple[str, int, int]]:
        """(url, first byte, last byte + 1) of the tensors' bytes [start, stop), in order; nothing for what lies in memory."""
        ...

    def verify(self) -> None:
        """DataError where its bytes are not those that were recorded; each file is read once in a process."""


class Reader(Protocol):
    """Range reads of the tensors' bytes, from any number of threads."""

    def read(self, start: int, buffer: memoryview) -> None: ...

    def close(self) -> None: ...


@lru_cache(maxsize=16)
def _shared(text: bytes, room: int) -> dict[str, Entry]:
    """Checkpoints of one sweep have equal headers: parsed once, held once."""
    return parse(text, room)


class Stored:
    """A safetensors file at a URL, with the size and digest recorded when it was written, where they are known."""

    def __init__(self, url: str, label: str, record: File | None = None, check: bool = False) -> None:
        self.url, self.label, self.record, self.check = url, label, record, check
        self.recorded = record is not None
        self._read = 0  # the crc32 of the header as it was read

    @cached_property
    def _header(self) -> tuple[int, int, Layout]:
        """(where tensors begin, file size, layout)."""
        total = files.size(self.url)
        if total is None:
            raise DataError(f"{self.url} is missing; fetch or train it again")
        if self.record is not None and total != self.record.size:
            raise DataError(f"{self.url} is not as recorded: expected {self.record.size} bytes, found {total}; fetch or train it again")
        if total < 8:
            raise DataError(f"{self.url} is truncated: expected at least 8 bytes, found {total}; fetch or train it again")
        try:
            return self._parsed(total)
        except DataError:
            if files.local(self.url) is not None:
                raise
            return self._parsed(total)  # perhaps it was spoiled on its way only

    def _parsed(self, total: int) -> tuple[int, int, Layout]:
        text = self._bytes(0, 8 if files.local(self.url) is not None else min(total, BEGIN))
        length = int.from_bytes(text[:8], "little")
        if length > LONGEST:
            raise DataError(f"{self.url} is not safetensors: its header claims {length} bytes, the format allows {LONGEST}")
        if 8 + length > total:
            raise DataError(f"{self.url} is truncated: expected at least {8 + length} bytes, found {total}; fetch or train it again")
        try:
            text = text[: 8 + length] if 8 + length <= len(text) else text[:8] + self._bytes(8, length)
            layout = _shared(text[8:], total - 8 - length)
        except ValueError as error:
            raise DataError(f"{self.url} is not valid safetensors of {total} bytes: {error}; fetch or train it again") from error
        self._read = zlib.crc32(text)
        return 8 + length, total, layout

    def _bytes(self, start: int, count: int) -> bytes:
        if files.local(self.url) is None and count:
            return bytes(ranges.fetch([(self.url, start, start + count)])[0])
        buffer = bytearray(count)
        files.read(self.url, start, memoryview(buffer))
        return bytes(buffer)

    @property
    def layout(self) -> Layout:
        """Key -> entry, in the order of the file's header."""
        return self._header[2]

    @cached_property
    def digest(self) -> str:
        """The recorded digest, else `sampled-` and the sha256 of size, header and three chunks: enough to order ingredients by content."""
        if self.record is not None:
            return self.record.digest
        start, total, _ = self._header
        sample = hashlib.sha256(str(total).encode() + self._bytes(0, start))
        for place in (start, (start + total - SAMPLE) // 2, total - SAMPLE):
            place = max(start, place)
            sample.update(self._bytes(place, min(SAMPLE, total - place)))
        return f"sampled-{sample.hexdigest()}"

    @property
    def urls(self) -> Sequence[str]:
        return (self.url,)

    def reader(self) -> Reader:
        """The file opened; it stays open until `close`."""
        return _StoredReader(files.Opened(self.url), self._header[0])

    def extents(self, start: int, stop: int) -> Sequence[tuple[str, int, int]]:
        """Where they lie in the file."""
        begin = self._header[0]
        return [(self.url, begin + start, begin + stop)]

    def verify(self) -> None:
        """Read everything and compare with the record, unless this process did so before and the file is as it was."""
        state = (self.url, self.record, files.signature(self.url))
        if self.record is None or state in _verified:
            return
        found, crcs = files.digest_and_crc32s(self.url)
        if found != self.record.digest and files.local(self.url) is None:  # perhaps on its way only
            found, crcs = files.digest_and_crc32s(self.url)
        if found != self.record.digest:
            told = f"expected digest {self.record.digest[:12]}, found {found[:12]} in {self.record.size} bytes"
            raise DataError(f"{self.url} is not as recorded: {told}; fetch or train it again")
        if crcs:
            ranges.keep(self.url, self.record.size, crcs)
            if "_header" in self.__dict__ and zlib.crc32(self._bytes(0, self._header[0])) != self._read:
                raise DataError(f"{self.url} came with another header than the one that was verified; run again")
        _verified.add(state)


_verified: set[Any] = set()


class _StoredReader:
    def __init__(self, file: files.Opened, begin: int) -> None:
        self.file, self.begin = file, begin

    def read(self, start: int, buffer: memoryview) -> None:
        self.file.read(self.begin + start, buffer)

    def close(self) -> None:
        self.file.close()


class Memory:
    """Named arrays as if they lay in a file."""

    recorded, check, urls = True, False, ()

    def __init__(self, tensors: Mapping[str, Any], label: str) -> None:
        self.label = label
        encoded = {key: encode(array) for key, array in tensors.items()}
        self._tensors = {key: array for key, (_, array) in encoded.items()}
        self.layout: Layout = arrange({key: (code, array.shape) for key, (code, array) in encoded.items()})
        self._keys = list(self.layout)
        self._starts = [entry.start for entry in self.layout.values()]

    def _everything(self) -> Iterator[files.Bytes]:
        yield render(self.layout)
        yield from (raw_bytes(self._tensors[key]) for key in self._keys if self.layout[key].count)

    @cached_property
    def digest(self) -> str:
        """What the file's digest will be once it is saved."""
        return files.digest(self._everything())

    def reader(self) -> Reader:
        return self

    def read(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `start` on."""
        at, filled = bisect_right(self._starts, start) - 1, 0
        while filled < len(buffer):
            entry = self.layout[self._keys[at]]
            if start + filled < entry.stop:
                piece = raw_bytes(self._tensors[self._keys[at]])[start + filled - entry.start : start + len(buffer) - entry.start]
                buffer[filled : filled + len(piece)] = piece
                filled += len(piece)
            at += 1

    def extents(self, start: int, stop: int) -> Sequence[tuple[str, int, int]]:
        """Nothing of it lies in a file."""
        return ()

    def verify(self) -> None:
        """Memory has no record to disagree with."""

    def close(self) -> None:
        """There is nothing to close."""
