"""Bytes at URLs: range reads into a caller's buffer, and writes that are hashed while they stream."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from components.types import DataError, File

CHUNK = 1 << 24
Bytes = bytes | bytearray | memoryview


class Digest:
    """The sha256 of the sha256s of a file's 16 MiB chunks: `types.File.digest`, whatever the sizes in which the bytes arrive."""

    def __init__(self) -> None:
        self.size = 0
        self._outer, self._inner = hashlib.sha256(), hashlib.sha256()

    def update(self, content: Bytes) -> None:
        """Append bytes."""
        rest = memoryview(content).cast("B")
        while rest:
            room = CHUNK - self.size % CHUNK
            self._inner.update(rest[:room])
            self.size += min(room, len(rest))
            rest = rest[room:]
            if self.size % CHUNK == 0:
                self._outer.update(self._inner.digest())
                self._inner = hashlib.sha256()

    def hexdigest(self) -> str:
        """The digest of everything so far."""
        outer = self._outer.copy()
        if self.size % CHUNK or not self.size:
            outer.update(self._inner.digest())
        return outer.hexdigest()


def digest(content: Iterable[Bytes] | Bytes) -> str:
    """The chunked digest of some bytes, whole or streamed."""
    total = Digest()
    for piece in [content] if isinstance(content, Bytes) else content:
        total.update(piece)
    return total.hexdigest()


def join(folder: str, name: str) -> str:
    """The URL of a file in a folder."""
    return f"{folder.rstrip('/')}/{name}"


@lru_cache(maxsize=64)
def _filesystem(root: str) -> Any:
    import fsspec

    return fsspec.core.url_to_fs(root)[0]


def _local(url: str) -> str | None:
    """The path on a local disk, or None where the URL is remote."""
    if "://" not in url and "::" not in url:
        return url
    return url.removeprefix("file://") if url.startswith("file://") else None


def _remote(url: str) -> tuple[Any, str]:
    scheme, _, rest = url.partition("://")
    filesystem = _filesystem(url if "::" in url else f"{scheme}://{rest.partition('/')[0]}")
    return filesystem, filesystem._strip_protocol(url)


def size(url: str) -> int | None:
    """The size in bytes of a file, or None where there is no such file."""
    local = _local(url)
    if local is not None:
        return os.path.getsize(local) if os.path.isfile(local) else None
    filesystem, path = _remote(url)
    return int(filesystem.size(path)) if filesystem.exists(path) else None


def read(url: str, start: int, buffer: memoryview) -> None:
    """Fill `buffer` with the bytes that begin at `start`; a file that ends before is a DataError. No file stays open between reads."""
    local = _local(url)
    if local is not None:
        with open(local, "rb", buffering=0) as file:
            file.seek(start)
            filled = 0
            while filled < len(buffer) and (got := file.readinto(buffer[filled:])):
                filled += got
    else:
        filesystem, path = _remote(url)
        content = filesystem.cat_file(path, start=start, end=start + len(buffer)) if len(buffer) else b""
        filled = len(content)
        buffer[:filled] = content
    if filled < len(buffer):
        raise DataError(f"{url} is truncated: expected {start + len(buffer)} bytes or more, found {start + filled}; fetch it again")


def pieces(url: str, step: int = CHUNK) -> Iterator[memoryview]:
    """A file's bytes in pieces of at most `step`; each is valid until the next is asked for."""
    total = size(url)
    if total is None:
        raise FileNotFoundError(f"{url} does not exist")
    buffer = memoryview(bytearray(min(step, total)))
    for start in range(0, total, step):
        piece = buffer[: min(step, total - start)]
        read(url, start, piece)
        yield piece


def content(url: str) -> bytes | None:
    """A small file's bytes, or None where there is no such file."""
    total = size(url)
    if total is None:
        return None
    buffer = bytearray(total)
    read(url, 0, memoryview(buffer))
    return bytes(buffer)


def document(url: str) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file; anything else in the file is a DataError."""
    raw = content(url)
    if raw is None:
        return None
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{url} is not JSON ({error}); fetch or write it again") from error
    if not isinstance(value, dict):
        raise DataError(f"{url} holds a {type(value).__name__} where a JSON object belongs; fetch or write it again")
    return value


def write(folder: str, name: str, chunks: Iterable[Bytes]) -> File:
    """Stream `chunks` into `folder`/`name` and return its size and digest. If a chunk fails, nothing of the file is left to be found."""
    url = join(folder, name)
    local = _local(url)
    total = Digest()
    if local is not None:
        os.makedirs(os.path.dirname(local) or ".", exist_ok=True)
        target: Any = open(local, "wb")  # noqa: SIM115 (closed below, or abandoned)
    else:
        filesystem, path = _remote(url)
        target = filesystem.open(path, "wb")
    complete = False
    try:
        for chunk in chunks:
            total.update(chunk)
            target.write(chunk)
        if local is not None:
            target.flush()
            os.fsync(target.fileno())  # the record that says "done" must not reach the disk before the payload
        target.close()
        complete = True
    finally:
        if not complete:
            _abandon(target, url)
    return File(name, total.size, total.hexdigest())


def _abandon(target: Any, url: str) -> None:
    """Drop a half-written file: merely closing a remote one would publish it."""
    from fsspec.spec import AbstractBufferedFile

    local = _local(url)
    if isinstance(target, AbstractBufferedFile):
        target.discard()
        target.closed = True
        return
    target.close()
    if local is not None:
        os.remove(local)
    else:
        filesystem, path = _remote(url)
        filesystem.rm_file(path)
