"""`pin`: data hashed once, and never again for a plan or a run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.pipelines.commands.conftest import line

Stockpot = Callable[..., subprocess.CompletedProcess[str]]


def test_what_was_pinned_is_not_read_again(stockpot: Stockpot, digits: Path, tmp_path: Path) -> None:
    words = ["pin", digits, "--store", tmp_path / "store"]
    first, again = stockpot(*words), stockpot(*words)
    assert first.returncode == again.returncode == 0, first.stderr
    assert "60 files" in first.stdout and "60 files read" in first.stdout and "nothing read" in again.stdout
    assert first.stdout.split(": ")[2].split(";")[0] == again.stdout.split(": ")[2].split(";")[0]
    for number in range(3):
        (tmp_path / f"a-{number}.tar").write_bytes(b"tar")
    assert "3 files, 9 B" in stockpot("pin", tmp_path / "a-{0..2}.tar", "--store", tmp_path / "store").stdout
    assert "no such file or folder" in line(stockpot("pin", tmp_path / "none", "--store", tmp_path / "store"))
