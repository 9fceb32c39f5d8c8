"""Garbage: what lies in a store and neither a record, nor a registry's alias, nor whoever computes still needs.

Nothing is garbage that is younger than `AGE` by the store's own clock, or that belongs to a node under a live lease. A plan is a streamed listing
and parallel reads of the records; before anything goes, records and leases are read again, so that what a listing missed costs nothing. What is
not known is left alone: pages, journals, champions, pins (which are asked for by address, and which no record names), and files of others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from infra.errors import IntegrityError
from infra.store.discard import discard, uploads
from infra.store.inventory import BATCH, KEY, batched, now, records, silent
from infra.store.lease import Driver
from infra.store.parallel import ordered
from infra.store.record import Record
from infra.store.store import Store

AGE = 24 * 3600.0  # seconds
ATTEMPTS, RETIRED, LEFTOVERS, UPLOADS = "attempts that no record names", "retired records", "leftovers of interrupted writes", "unfinished uploads"
SERVED = "payloads that have served, with their records"
MANIFESTS, HEARTBEATS, PROBES = "manifests that no record names", "heartbeats of ended runs", "probes"
IN_USE = "it is in use by now"
OF_FINISHED = {"state": "training states of finished nodes", "lease": "leases of finished nodes", "failure.json": "failures of finished nodes"}
LEFTOVER = re.compile(r"\.(.*\.partial|[0-9a-f]{32})")  # what a disk keeps of a write that was killed
NODE = re.compile(rb"[A-Za-z_]\w*-[0-9a-z]+")
PIN = re.compile(rb'"([0-9a-f]{20})"')

Entry = tuple[str, int, float]  # name in the store, bytes, and when it was written by the store's clock


class Waste(NamedTuple):
    """A file that nothing needs; `upload` instead names an upload that was begun and not finished. `seconds`: what a record's node took."""

    kind: str
    name: str
    size: int
    upload: str = ""
    seconds: float = 0.0

    @property
    def key(self) -> str:
        return self.name.partition("/")[0]


def garbage(name: str, record: Record | IntegrityError | None) -> str:
    """What kind of garbage a node's file is, "" where it is needed or not known; a record that cannot be read protects all that lies there."""
    part, _, rest = name.partition("/")[2].partition("/")
    if isinstance(record, IntegrityError):
        return ""
    if LEFTOVER.fullmatch(name.rpartition("/")[2]):
        return LEFTOVERS
    if part == "attempts":
        return "" if record and record.result.get("attempt") == rest.partition("/")[0] else ATTEMPTS
    if part == "retired":
        return RETIRED
    return OF_FINISHED.get(part, "") if record else ""


def plan(store: Store, aliased: Collection[str] = (), unused: bool = False) -> Iterator[Waste]:
    """All garbage; `aliased` are the URLs of payloads that a registry names.

    unused: also payloads from which others were made, and which no alias, page or champion names, such as the trials of a finished sweep: what was
    made from them stays done, and a later run that needs them computes them again. ValueError while a run goes on.
    """
    place = store.place
    until, kept = now(place) - AGE, {url.removeprefix(f"{place.url}/") for url in aliased}
    gone = silent(store, AGE)
    alive = any(Driver(place).alive({name.removesuffix(".json") for name in place.names("drivers")} - gone).values())
    if unused and alive:
        raise ValueError(f"{place.url}: a run goes on, which may need what has served; try again at its end")
    pins: set[bytes] = set()
    inputs: set[str] = set()
    manifests: list[Entry] = []
    old_payloads: list[list[Waste]] = []

    def look(batch: list[tuple[str, list[Entry]]]) -> list[tuple[str, bytes, Record | IntegrityError]]:
        return list(records(store, [key for key, _ in batch if KEY.fullmatch(key)]))

    for batch, found in ordered(look, batched(_folders(store), BATCH), 1):  # records are read while the listing goes on
        nodes = {key: entries for key, entries in batch if KEY.fullmatch(key)}
        pins.update(*(PIN.findall(content) for _, content, _ in found))
        known = {key: record for key, _, record in found}
        if unused:
            inputs.update(*(record.inputs for record in known.values() if isinstance(record, Record)))
            settled = [key for key, entries in nodes.items() if all(changed < until for _, _, changed in entries)]
            old_payloads += [_payload(nodes[key], known.get(key)) for key in settled]
        waste = [one for key, entries in nodes.items() for one in _of_node(entries, known.get(key), until, kept)]
        held = under_lease(store, list({one.key for one in waste}), gone) if alive else set()
        yield from (one for one in waste if one.key not in held)
        for folder, entries in batch:
            old = [entry for entry in entries if entry[2] < until]
            if folder == "manifests":
                manifests = old
            elif folder == "drivers":
                yield from (Waste(HEARTBEATS, name, size) for name, size, _ in old)
            elif folder not in nodes:
                yield from (Waste(PROBES if folder == "probes" else LEFTOVERS, name, size) for name, size, _ in old)
    named = (_named(store) | {name.partition("/")[0] for name in kept}) if unused else set()
    yield from (one for files in old_payloads for one in files if one.key in inputs and one.key not in named)
    if not alive:  # a run that goes on may read what it pinned before its first record names it
        yield from (Waste(MANIFESTS, name, size) for name, size, _ in manifests if _pin(name) not in pins)
    yield from (Waste(UPLOADS, name, size, upload) for name, upload, size, begun in uploads(place) if begun < until)


def _payload(entries: Sequence[Entry], record: Record | IntegrityError | None) -> list[Waste]:
    """The record of a node and the files that it names, the record first; nothing where it names none."""
    if not isinstance(record, Record) or "attempt" not in record.result:
        return []
    files = {f"{record.key}/attempts/{record.result['attempt']}/{file['name']}" for file in record.result["files"]}
    own = [Waste(SERVED, name, size, seconds=record.seconds) for name, size, _ in entries if name == f"{record.key}/record.json"]
    return own + [Waste(SERVED, name, size) for name, size, _ in entries if name in files]


def _named(store: Store) -> set[str]:
    """The keys that pages and champions name."""
    pages = [f"{folder}/{one.name}" for folder in ("reports", "champions") for one in store.place.find(folder)]
    texts = (store.place.read(page) for page in pages if page.endswith((".html", ".json")))
    return {found.decode() for text in texts for found in NODE.findall(text or b"")}


def _pin(name: str) -> bytes:
    return name.rpartition("/")[2].partition(".")[0].encode()


def _folders(store: Store) -> Iterator[tuple[str, list[Entry]]]:
    """The files of a store by their first folder; of folders that are not looked into, only what a killed write left."""
    for folder, entries in groupby(store.place.find(""), lambda entry: str(entry[0]).partition("/")[0]):
        whole = KEY.fullmatch(folder) or folder in ("manifests", "drivers", "probes")
        yield folder, [entry for entry in entries if whole or LEFTOVER.fullmatch(entry[0].rpartition("/")[2])]


def _of_node(entries: Sequence[Entry], record: Record | IntegrityError | None, until: float, kept: Collection[str]) -> Iterator[Waste]:
    """The garbage of one node; an attempt is as young as its youngest file."""
    young = {"/".join(name.split("/")[:3]) for name, _, changed in entries if changed >= until}
    for name, size, _ in entries:
        kind, attempt = garbage(name, record), "/".join(name.split("/")[:3])
        if kind and attempt not in young and attempt not in kept:
            yield Waste(kind, name, size)


def under_lease(store: Store, keys: Sequence[str], gone: Collection[str]) -> set[str]:
    """Which of the nodes a living driver holds; those that are `gone` have been silent for too long."""
    driver = Driver(store.place)
    holders = driver.holders(keys)
    alive = driver.alive({holder for holder in holders.values() if holder} - set(gone))
    return {key for key, holder in holders.items() if alive.get(holder)}


def collect(store: Store, found: Iterable[Waste]) -> Iterator[tuple[Waste, str]]:
    """Remove garbage that still is: (what is gone, "") or (what remains, why)."""
    gone = silent(store, AGE)
    for batch in batched(found, BATCH):
        keys = list(dict.fromkeys(one.key for one in batch if KEY.fullmatch(one.key)))
        fresh: dict[str, Record | IntegrityError] = {key: record for key, _, record in records(store, keys)}
        held = under_lease(store, keys, gone)
        doomed = [one for one in batch if one.key not in held and _still(one, fresh.get(one.key))]
        spared = set(batch) - set(doomed)
        yield from ((one, IN_USE) for one in spared)
        records_first = sorted(doomed, key=lambda one: not one.name.endswith("/record.json"))
        for _, some in groupby(records_first, lambda one: one.name.endswith("/record.json")):  # a record without its payload is damage
            yield from discard(store.place, list(some))


def _still(one: Waste, record: Record | IntegrityError | None) -> bool:
    if one.kind == SERVED:
        return isinstance(record, Record)
    return bool(one.upload) or not KEY.fullmatch(one.key) or garbage(one.name, record) == one.kind
