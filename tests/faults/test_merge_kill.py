"""A merge that is killed leaves no folder or a whole one, never a part; its ingredients are as they were, and the same command succeeds."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from components.weights import Checkpoint
from components.weights.files import digest, pieces

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).parents[2]
STRIKES = 12


class Merge:
    """The mean of four checkpoints of 100 MB."""

    def __init__(self, home: Path) -> None:
        self.home = home
        for i in range(4):
            draws = np.random.default_rng(i)
            tensors = {f"visual.{k}.weight": draws.standard_normal(2_500_000, np.float32) for k in range(10)}
            Checkpoint.of(tensors, {"name": f"model {i}", "ancestry": "a" * 64}).save(str(home / f"model-{i}"))
        self.ingredients = self.found(home)

    @staticmethod
    def found(folder: Path) -> dict[str, str]:
        """{path: digest} of every file in the models."""
        return {str(path): digest(pieces(str(path))) for path in sorted(folder.glob("model-*/*"))}

    def start(self, out: Path) -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "pipelines", "merge", "uniform", *map(str, sorted(self.home.glob("model-*"))), "--out", str(out)]
        return subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, out: Path) -> None:
        process = self.start(out)
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error


@pytest.fixture(scope="module")
def merge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Merge]:
    made = Merge(tmp_path_factory.mktemp("models"))
    yield made
    shutil.rmtree(made.home)


def until(seen: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for something to be seen while a process runs."""
    while process.poll() is None and not seen():
        time.sleep(0.002)


def verified(out: Path) -> str:
    """The digest of a checkpoint whose every byte is as recorded."""
    for part in Checkpoint(str(out)).parts.values():
        part.verify()
    return Checkpoint(str(out)).digest


def test_a_killed_merge_leaves_nothing_or_all_of_it(merge: Merge, tmp_path: Path) -> None:
    chance, out, cut = random.Random(20), tmp_path / "soup", 0
    started = time.monotonic()
    undisturbed = merge.start(tmp_path / "undisturbed")
    until(lambda: list(tmp_path.glob(".undisturbed.partial-*")), undisturbed)
    writing = time.monotonic()
    undisturbed.communicate(timeout=120)
    assert undisturbed.returncode == 0
    before, during = writing - started, time.monotonic() - writing
    expected = verified(tmp_path / "undisturbed")
    for strike in range(STRIKES):
        process = merge.start(out)
        if strike % 4 == 0:
            time.sleep(chance.uniform(0, before))
        else:
            known = set(tmp_path.glob(".soup.partial-*"))
            until(lambda known=known: set(tmp_path.glob(".soup.partial-*")) - known, process)
            time.sleep(chance.uniform(0, during))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        cut += process.returncode == -signal.SIGKILL and bool(list(tmp_path.glob(".soup.partial-*/*")))
        assert len(list(tmp_path.glob(".soup.partial-*"))) <= 1
        if out.exists():
            assert verified(out) == expected
            shutil.rmtree(out)
    assert cut, "no strike fell while a file was being written"
    merge.run(out)
    assert verified(out) == expected and not list(tmp_path.glob(".*"))
    assert merge.found(merge.home) == merge.ingredients


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 4)])
def test_a_merge_that_is_told_to_stop_leaves_nothing(merge: Merge, tmp_path: Path, number: int, code: int) -> None:
    process = merge.start(tmp_path / "soup")
    until(lambda: list(tmp_path.glob(".soup.partial-*/*")), process)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code and error.strip().startswith("stopped;") and os.listdir(tmp_path) == []
    merge.run(tmp_path / "soup")
    verified(tmp_path / "soup")
