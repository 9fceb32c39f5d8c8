"""Inventory: the nodes of a store and what became of each, from a listing of the keys and parallel reads of the records."""

from __future__ import annotations

import contextlib
import email.utils
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from infra.errors import IntegrityError
from infra.store.lease import PATIENCE, Driver, parsed
from infra.store.place import Place, filesystem
from infra.store.record import Record
from infra.store.store import Store

T = TypeVar("T")
BATCH = 512  # nodes whose records are read at once: what bounds memory, beside the facts that are kept of each
KEY = re.compile(r"[A-Za-z_]\w*-[0-9a-z]+")
TITLE = 80  # characters


@dataclass(frozen=True)
class Listed:
    """A node as a list of the store shows it. `state` is done, damaged, running by ..., failed: ..., half-trained at step N, or unfinished."""

    key: str
    state: str
    seconds: float | None = None
    bytes: int | None = None
    digest: str = ""
    started: float = 0.0
    title: str = ""


def batched(items: Iterable[T], count: int = BATCH) -> Iterator[list[T]]:
    """Lists of `count` items, the last one shorter."""
    rest = iter(items)
    while batch := list(islice(rest, count)):
        yield batch


def keys(store: Store, function: str = "") -> list[str]:
    """The keys of all nodes, sorted; of one function where it is named."""
    return [key for key in store.keys(function) if KEY.fullmatch(key)]


def records(store: Store, keys: Sequence[str]) -> Iterator[tuple[str, bytes, Record | IntegrityError]]:
    """(key, bytes, record or why it is none) of every node that has one, in order."""
    for batch in batched(keys):
        found = store.place.read_many([f"{key}/record.json" for key in batch])
        for key in batch:
            content = found[f"{key}/record.json"]
            if content is not None:
                yield key, content, parsed_record(store, key, content)


def parsed_record(store: Store, key: str, content: bytes) -> Record | IntegrityError:
    """The record that these bytes are, or why they are none."""
    where = store.place.at(f"{key}/record.json")
    try:
        record = Record.from_bytes(content, where)
    except IntegrityError as error:
        return error
    return record if record.key == key else IntegrityError(f"{where}: is the record of {record.key}; remove the folder to compute it again")


def now(place: Place) -> float:
    """The time by the store's own clock: what a disk gives a file that is written now, or S3 an answer."""
    if place.local:
        with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=place.url) as file:  # a store that is only read has no clock of its own
            return os.fstat(file.fileno()).st_mtime
    elif place.s3:
        fs = filesystem(place.url)
        answer = fs.call_s3("list_objects_v2", Bucket=fs.split_path(place.url)[0], MaxKeys=1)
        return email.utils.parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    return time.time()


def silent(store: Store, seconds: float) -> set[str]:
    """Drivers whose heartbeat is older than that, both by the store's clock."""
    until = now(store.place) - seconds
    return {one.name.removesuffix(".json") for one in store.place.find("drivers") if one.changed < until}


def listed(store: Store, keys: Sequence[str]) -> list[Listed]:
    """What became of these nodes: by time of their start, what is not finished last."""
    done = {key: _finished(key, found) for key, _, found in records(store, keys)}
    left = [key for key in keys if key not in done]
    there = [*done.values(), *(_unfinished(store, left) if left else ())]
    return sorted(there, key=lambda node: (not node.started, node.started, node.key))


def _finished(key: str, record: Record | IntegrityError) -> Listed:
    if isinstance(record, IntegrityError):
        return Listed(key, "damaged")
    kept = sum(file["size"] for file in record.result.get("files", ()))
    return Listed(key, "done", record.seconds, kept, record.digest, record.started, titled(record))


def _unfinished(store: Store, keys: Sequence[str]) -> Iterator[Listed]:
    """Who computes them now, how they failed, or which training state is there to go on from."""
    driver, gone = Driver(store.place), silent(store, PATIENCE)
    holders = driver.holders(keys)
    alive = driver.alive(holder for holder in holders.values() if holder not in gone)
    failures = store.place.read_many([f"{key}/failure.json" for key in keys])
    names = store.place.each(lambda key: store.place.names(f"{key}/state"), keys)
    for key, states in zip(keys, names, strict=True):
        steps = [int(found[1]) for name in states if (found := re.fullmatch(r"(\d+)-.+\.json", name))]
        failure = parsed(failures[f"{key}/failure.json"])
        if who := alive.get(holders[key], ""):
            state = f"running by {who}"
        elif failure:
            state = f"failed: {failure.get('kind')}"
        else:
            state = f"half-trained at step {max(steps)}" if steps else "unfinished"
        yield Listed(key, state)


def titled(record: Record) -> str:
    """The knobs of a call that differ from their defaults, in a line: `AdamW lr=0.0027 steps=20`; data come last, inputs are left out."""
    knobs = sorted(_knobs(record.arguments), key=lambda knob: (knob[0].startswith("data"), not knob[0].startswith("update")))
    words = " ".join(word for _, word in knobs)
    return words if len(words) <= TITLE else f"{words[: TITLE - 3]}..."


def _knobs(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """(dotted path, word for a line) of classes and of plain values."""
    for name, item in value.items():
        if isinstance(item, dict) and "is" in item:
            yield from _knobs(item, f"{path}{name}.")
        elif name == "is":
            yield path, str(item).partition("@")[0]
        elif isinstance(item, str | int | float):
            yield f"{path}{name}", f"{name}={item:.4g}" if isinstance(item, float) else f"{name}={item}"
