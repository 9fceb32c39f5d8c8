"""Scratch is removed: by its process, or where that was killed by the next one; never under a process that lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOLDS = """
import sys
from pathlib import Path
from infra.owned import scratch
from infra.run import lasting
with scratch() as folder:
    for each in (folder, lasting()):
        Path(each, "half").touch()
    assert lasting() == each
    print("made", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", HOLDS], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"made\n"
    return process


@pytest.mark.parametrize("killed", [True, False])
def test_scratch_outlives_its_process_until_the_next_one_at_most(tmp_path: Path, killed: bool) -> None:
    living, dead = holder(tmp_path), holder(tmp_path)
    kept = {path for path in tmp_path.iterdir() if path.is_dir()}
    assert len(kept) == 4
    if killed:
        dead.send_signal(signal.SIGKILL)
    dead.communicate(timeout=60)
    third = holder(tmp_path)
    left = set(tmp_path.iterdir())
    assert len(left) == 4 and len(left & kept) == 2 and all((path / "half").exists() for path in left)
    for process in (living, third):
        process.communicate(timeout=60)
    assert list(tmp_path.iterdir()) == []
