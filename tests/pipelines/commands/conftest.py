"""One small store for all tests of the commands, made by the command line itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Stockpot = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def stockpot(tmp_path_factory: pytest.TempPathFactory) -> Stockpot:
    """Run `stockpot WORDS ...` as a person would, in a folder of its own."""
    home = tmp_path_factory.mktemp("home")
    root = str(Path(__file__).resolve().parents[3])
    env = {**os.environ, "STOCKPOT_CACHE": str(home / "cache"), "STOCKPOT_STATE": str(home / "state"), "PYTHONPATH": root}

    def run(*words: object, cwd: Path = home) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pipelines", *map(str, words)]
        return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture(scope="session")
def soup(stockpot: Stockpot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store that `run soup smoke` leaves; tests that change it take `copy` instead."""
    store = tmp_path_factory.mktemp("soup") / "store"
    done = stockpot("run", "soup", "smoke", "--store", store, "--ray", "none", "--tracking", "none")
    assert done.returncode == 0, done.stderr
    return store


@pytest.fixture
def copy(soup: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(soup, tmp_path / "copy"))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real digits as class folders of PNG."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    from pipelines.tasks import Handwriting

    folder = tmp_path_factory.mktemp("digits")
    data = load_digits()
    for i in range(60):
        name = Handwriting().classes[data.target[i]]
        (folder / name).mkdir(exist_ok=True)
        pixels = np.kron(data.images[i] * 15, np.ones((4, 4))).astype(np.uint8)
        Image.fromarray(pixels).convert("RGB").save(folder / name / f"{i}.png")
    return folder


def line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a refused command leaves on the error stream."""
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()
