"""Pinning a million objects from a synthetic index: seconds, and the memory that it takes. `python -m tests.benchmarks.pin [FILES]`."""

from __future__ import annotations

import hashlib
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator

from infra.store import manifest, pins
from infra.store.listing import PAGE, Page
from infra.store.place import Place

BEFORE = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def index(files: int) -> Iterator[Page]:
    """Names, sizes and ETags as a bucket of pictures in a thousand folders has them."""
    for start in range(0, files, PAGE):
        yield [(f"train/n{k % 1000:08d}/n{k % 1000:08d}_{k}.JPEG", 100_000 + k % 9999, f'"{k:032x}"') for k in range(start, min(start + PAGE, files))]


def digests(files: Iterable[tuple[str, int]]) -> Iterator[str]:
    """Digests for nothing: what reading costs is another benchmark."""
    return (hashlib.sha256(url.encode()).hexdigest() for url, _ in files)


def told(what: str, started: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{what:<14} {time.monotonic() - started:6.1f} s, the process at most {peak / 1024:.0f} MB, {BEFORE / 1024:.0f} MB of it before")


def main(files: int) -> None:
    pins.pages = lambda url: index(files)  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder)
        for what in ("pinned", "pinned again"):
            started = time.monotonic()
            pin = pins.Pins(place, digests).pin("s3://bucket").pin
            told(what, started)
        started = time.monotonic()
        assert len(manifest.read(place, pin)) == files
        told("manifest read", started)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
