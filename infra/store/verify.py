"""Verifying a store: every file that a record names, by size and by digest, against what was recorded when it was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import fsspec

from infra.errors import IntegrityError
from infra.store.place import is_local
from infra.store.store import Store

THREADS = 8  # hashing releases the GIL, and a remote store answers slowly


@dataclass(frozen=True)
class Checked:
    """A file as it was found: `damage` is "" where it is as recorded."""

    url: str
    size: int
    damage: str = ""


@dataclass(frozen=True)
class Expected:
    """A file as its record has it."""

    url: str
    size: int
    digest: str


def expected(store: Store) -> Iterator[Expected | Checked]:
    """The files of all records, in the order of keys; a record that cannot be read is a damaged file itself."""
    for key in store.keys():  # noqa: SIM118 (a method of the store)
        try:
            record = store.record(key)
        except IntegrityError as error:
            yield Checked(store.place.at(f"{key}/record.json"), 0, str(error).partition(": ")[2])
            continue
        if record is not None and "files" in record.result:
            folder = store.payload(record)
            yield from (Expected(f"{folder}/{file['name']}", file["size"], file["digest"]) for file in record.result["files"])


def check(file: Expected, digest: Callable[[str], str]) -> Checked:
    """One file against its record; `digest` is of the bytes at a URL."""
    try:
        fs, path = fsspec.core.url_to_fs(file.url, use_listings_cache=False) if not is_local(file.url) else (fsspec.filesystem("file"), file.url)
        size = int(fs.size(path))
        if size != file.size:
            return Checked(file.url, file.size, f"{size} bytes, {file.size} were recorded")
        found = digest(file.url)
    except FileNotFoundError:
        return Checked(file.url, file.size, "missing")
    except OSError as error:
        return Checked(file.url, file.size, f"cannot be read: {error.strerror or error}")
    return Checked(file.url, file.size, "" if found == file.digest else f"its bytes changed: digest {found[:12]}, {file.digest[:12]} was recorded")


def verify(store: Store, digest: Callable[[str], str], threads: int = THREADS) -> Iterator[Checked]:
    """Every recorded file, checked in parallel, in the order of keys."""
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda file: file if isinstance(file, Checked) else check(file, digest), expected(store))
