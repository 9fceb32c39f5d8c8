"""Garbage: what lies in a store and neither a record, nor a registry's alias, nor whoever computes still needs.

Nothing is garbage that is younger than `AGE` by the store's own clock, or that belongs to a node under a live lease. A plan is a streamed listing
and parallel reads of the records; before anything goes, records, leases and heartbeats are read again, so that what a listing missed costs at
most a manifest, which the next pin writes anew. What is not known is left alone: pages, journals, champions, pins (which are asked for by address,
and which no record names), and files and uploads of others, even where the store is a whole bucket.
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
from infra.store.place import VERSIONED
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
PAYLOAD = re.compile(rf"({KEY.pattern})/attempts/[^/]+")
OWN = ("champions", "drivers", "manifests", "pins", "probes", "reports", "runs")  # folders beside those of nodes
IDLE = (SERVED, MANIFESTS)  # what goes only while nobody computes: a run reads records without a lease, and pins before it has any

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
    until, kept = now(place) - AGE, {found[0] for url in aliased for found in PAYLOAD.finditer(url)}  # however the store's own address is spelled
    gone = silent(store, AGE)
    alive = busy(store, gone)
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
        yield from _free(store, waste, gone) if alive else waste
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
    old_uploads = [Waste(UPLOADS, name, size, upload) for name, upload, size, begun in uploads(place) if begun < until and _own(name)]
    yield from _free(store, old_uploads, gone) if alive else old_uploads


def busy(store: Store, gone: Collection[str]) -> bool:
    """Whether any driver lives that is not `gone`."""
    names = {name.removesuffix(".json") for name in store.place.names("drivers")}
    return any(Driver(store.place).alive(names - set(gone)).values())


def _free(store: Store, waste: Sequence[Waste], gone: Collection[str]) -> Iterator[Waste]:
    """What belongs to no node that a living driver holds."""
    held = under_lease(store, list({one.key for one in waste if KEY.fullmatch(one.key)}), gone)
    return (one for one in waste if one.key not in held)


def _own(name: str) -> bool:
    """Whether a file of this name is the store's: it may be a folder, or a bucket, with other things in it."""
    folder, slash, _ = name.partition("/")
    return not slash or folder in OWN or bool(KEY.fullmatch(folder))


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
        yield folder, [entry for entry in entries if whole or (_own(entry[0]) and LEFTOVER.fullmatch(entry[0].rpartition("/")[2]))]


def _of_node(entries: Sequence[Entry], record: Record | IntegrityError | None, until: float, kept: Collection[str]) -> Iterator[Waste]:
    """The garbage of one node. An attempt is as young as its youngest file, and so are its leases: they are read from the first to the last."""

    def unit(name: str) -> str:
        return "/".join(name.split("/")[: 2 if "/lease/" in name else 3])

    young = {unit(name) for name, _, changed in entries if changed >= until}
    for name, size, _ in sorted(entries, key=lambda entry: (len(entry[0]), entry[0]), reverse=True):  # the newest lease first
        kind = garbage(name, record)
        if kind and unit(name) not in young and unit(name) not in kept:
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
    withdrawn: set[str] = set()  # nodes whose record went: a record without its payload is damage
    for batch in batched(found, BATCH):
        keys = list(dict.fromkeys(one.key for one in batch if KEY.fullmatch(one.key)))
        fresh: dict[str, Record | IntegrityError] = {key: record for key, _, record in records(store, keys)}
        held = under_lease(store, keys, gone)
        idle = any(one.kind in IDLE for one in batch) and not busy(store, gone)
        free = [one for one in batch if one.key not in held and (idle or one.kind not in IDLE)]
        served = [one for one in free if one.kind == SERVED and one.name.endswith("/record.json") and isinstance(fresh.get(one.key), Record)]
        for one, why in discard(store.place, served):
            withdrawn.update([one.key] if why in ("", VERSIONED) else [])
            yield one, why
        rest = set(free) - set(served)
        doomed = [one for one in free if one in rest and (one.key in withdrawn if one.kind == SERVED else _still(one, fresh.get(one.key)))]
        yield from ((one, IN_USE) for one in set(batch) - set(served) - set(doomed))
        yield from discard(store.place, doomed)


def _still(one: Waste, record: Record | IntegrityError | None) -> bool:
    return bool(one.upload) or not KEY.fullmatch(one.key) or garbage(one.name, record) == one.kind
