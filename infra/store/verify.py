"""Verifying a store: every file that a record names, by size and by digest, against what was recorded when it was written.

Chunks are read at once across files. What was found as recorded is remembered outside the store, so that an interrupted verification goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from infra.errors import INTEGRITY, IntegrityError, exit_code_of
from infra.store.inventory import keys, records
from infra.store.parallel import ordered
from infra.store.place import Place
from infra.store.record import Record
from infra.store.store import Store

CHUNK = 1 << 24  # of a file's digest: the sha256 of the sha256s of its chunks
THREADS = {True: 8, False: 16}  # local or not: hashing releases the GIL, and a remote store answers slowly; each holds a chunk

Hashed = Callable[[str, int, int], bytes]  # (url, first byte of a chunk, bytes of the file) -> sha256 of the chunk
Progress = Callable[[int], None]  # bytes that were read since it was called last


class Expected(NamedTuple):
    """A file as its record has it, by its name in the store."""

    name: str
    size: int
    digest: str


class Checked(NamedTuple):
    """A file as it was found: `damage` is "" where it is as recorded."""

    file: Expected
    damage: str = ""


def expected(store: Store) -> Iterator[Expected | Checked]:
    """The files of all records, in the order of keys; a record that cannot be read is a damaged file itself."""
    for key, content, record in records(store, keys(store)):
        if isinstance(record, IntegrityError):
            yield Checked(Expected(f"{key}/record.json", len(content), ""), str(record).partition(": ")[2].partition("; ")[0])
        else:
            yield from payload(record)


def payload(record: Record) -> Iterator[Expected]:
    """The files of a record."""
    for file in record.result.get("files", ()):
        yield Expected(f"{record.key}/attempts/{record.result['attempt']}/{file['name']}", file["size"], file["digest"])


class Seen:
    """The files that an earlier, interrupted verification found as recorded: a file of lines beside nothing that it checks."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._known: set[Expected] = set()
        with contextlib.suppress(FileNotFoundError):
            for line in self.path.read_bytes().splitlines():
                with contextlib.suppress(ValueError, TypeError):  # a torn line is a file that is read again
                    self._known.add(Expected(*json.loads(line)))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def __contains__(self, file: Expected) -> bool:
        return file in self._known

    def add(self, file: Expected) -> None:
        os.write(self._file, json.dumps(file).encode() + b"\n")

    def forget(self) -> None:
        """All was verified: the next verification begins anew."""
        os.close(self._file)
        self.path.unlink(missing_ok=True)


def verify(place: Place, files: Iterable[Expected], hashed: Hashed, progress: Progress = lambda count: None) -> Iterator[Checked]:
    """Every file as it is found, in order.

    Of one that is damaged the rest is not read: a damaged record may tell any size. Raises OSError or StoreError where a remote store stays
    away: that is no damage, and the same command goes on.
    """
    broken: set[Expected] = set()

    def pieces() -> Iterator[tuple[Expected, int]]:
        for file in files:
            for start in starts(file):
                if file in broken:
                    break
                yield file, start

    def look(piece: tuple[Expected, int]) -> bytes | str:
        file, start = piece
        url = place.at(file.name)
        try:
            return hashed(url, start, file.size)
        except FileNotFoundError:
            broken.add(file)
            return "missing"
        except Exception as error:
            if exit_code_of(error) == INTEGRITY or (place.local and isinstance(error, OSError)):
                broken.add(file)
                told = getattr(error, "strerror", "")
                return f"cannot be read: {told}" if told else str(error).removeprefix(f"{url}: ")
            raise

    for file, some in groupby(ordered(look, pieces(), THREADS[place.local]), lambda piece: piece[0][0]):
        chunks: list[bytes] = []
        damage, last = "", 0
        for (_, last), found in some:
            progress(min(CHUNK, file.size - last))
            if isinstance(found, str):
                damage = damage or found
            else:
                chunks.append(found)
        progress(max(0, file.size - last - CHUNK))
        yield Checked(file, damage or _unlike(file, chunks))


def recorded(store: Store, file: Expected) -> bool:
    """Whether a record names this file still: what was collected or withdrawn since it was read is no damage."""
    return any(file in payload(record) for _, _, record in records(store, [file.name.partition("/")[0]]) if isinstance(record, Record))


def starts(file: Expected) -> range:
    """The first byte of each chunk; an empty file has one."""
    return range(0, max(1, file.size), CHUNK)


def digest_of(chunks: Iterable[bytes]) -> str:
    """The digest of a file whose chunks have these."""
    return hashlib.sha256(b"".join(chunks)).hexdigest()


def _unlike(file: Expected, chunks: list[bytes]) -> str:
    found = digest_of(chunks)
    return "" if found == file.digest else f"its bytes changed: digest {found[:12]}, {file.digest[:12]} was recorded"
