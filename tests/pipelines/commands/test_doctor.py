"""`doctor`: a line for each thing that a run needs, and the exit code of what is missing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

Stockpot = Callable[..., subprocess.CompletedProcess[str]]


def test_all_is_well_and_nothing_is_left_behind(stockpot: Stockpot, tmp_path: Path) -> None:
    done = stockpot("doctor", "soup", "smoke", "--store", tmp_path / "store", "--tracking", "none")
    assert done.returncode == 0, done.stdout
    assert "everything is there" in done.stdout and "60 examples, 10 classes" in done.stdout
    assert "a second exclusive creation is refused" in done.stdout
    assert list((tmp_path / "store").iterdir()) == []


def test_each_thing_that_is_missing_is_told_with_the_rest(stockpot: Stockpot, tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.png").write_bytes(b"no image")
    words = ["--task", "Own", "--task.url", tmp_path, "--store", "/dev/null/store", "--tracking", "http://127.0.0.1:9"]
    done = stockpot("doctor", "soup", "smoke", *words)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert [line.split()[1] for line in failed] == ["store:", "store:", "mlflow", "data"]
    assert any("one class folder (only)" in line for line in failed)
