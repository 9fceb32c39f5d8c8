"""A file chunk by chunk, as its digest is made: chunks of many files can be read at once, few large ones as well as many small ones."""

from __future__ import annotations

import contextlib
import hashlib
import os

from components.types import DataError
from components.weights.files import CHUNK, Opened, found, local, remote, size

STEP = 1 << 20  # bytes that are hashed while they are in a core's cache


def hashed(url: str, start: int, total: int) -> bytes:
    """The sha256 of the chunk that begins at `start`, of a file of `total` bytes; DataError where it is longer or shorter than that."""
    path, stop = local(url), min(start + CHUNK, total)
    if path is None:
        return hashlib.sha256(chunk(url, start, total)).digest()
    inner = hashlib.sha256()
    with contextlib.closing(Opened(url)) as file:
        _long_as_told(url, os.stat(path).st_size, total)
        buffer = memoryview(bytearray(min(STEP, stop - start)))
        for at in range(start, stop, STEP):
            piece = buffer[: min(STEP, stop - at)]
            file.read(at, piece)
            inner.update(piece)
    return inner.digest()


def chunk(url: str, start: int, total: int) -> bytes:
    """The bytes of that chunk, in one request where the file is remote."""
    path, stop = local(url), min(start + CHUNK, total)
    if path is not None or not total:
        there = size(url)
        if there is None:
            raise FileNotFoundError(f"{url} does not exist")
        _long_as_told(url, there, total)
        buffer = bytearray(stop - start)
        with contextlib.closing(Opened(url)) as file:
            file.read(start, memoryview(buffer))
        return bytes(buffer)
    filesystem, name = remote(url)
    beyond = stop == total  # a byte more than the last chunk has: the file must end there
    try:
        with found(url, stop):
            content: bytes = filesystem.cat_file(name, start=start, end=stop + beyond)
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):  # nobody has said that it was there
            raise FileNotFoundError(f"{url} does not exist") from error
        raise
    if len(content) != stop - start:
        _long_as_told(url, start + len(content), stop)
    return content


def _long_as_told(url: str, there: int, told: int) -> None:
    if there != told:
        raise DataError(f"{url}: {'more' if there > told else there} bytes, {told} were recorded")
