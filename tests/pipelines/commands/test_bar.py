"""The bar is seen on a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
WORK = """
from concurrent.futures import ThreadPoolExecutor
from pipelines.commands.bar import shown
with shown("merging") as progress:
    print(progress is None, flush=True)
    if progress:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda done: progress(done, 200_000_000), range(0, 200_000_001, 20_000_000)))
"""


def watched(terminal: bool) -> tuple[str, str]:
    """What the work wrote to its output and to its error stream."""
    ours, theirs = pty.openpty() if terminal else os.pipe()
    env = {name: value for name, value in os.environ.items() if name != "CI"} | {"TERM": "xterm", "COLUMNS": "100"}
    with os.fdopen(ours, "rb", buffering=0) as reader:
        done = subprocess.run([sys.executable, "-c", WORK], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=theirs, text=True, timeout=60)
        os.close(theirs)
        seen = b""
        try:
            while more := reader.read(65536):
                seen += more
        except OSError:  # how a terminal without a writer ends
            pass
    assert done.returncode == 0, seen
    return done.stdout.strip(), seen.decode()


def test_a_terminal_sees_bytes_and_a_log_sees_nothing() -> None:
    told, seen = watched(terminal=True)
    assert told == "False" and "merging" in seen and "200.0/200.0 MB" in seen
    assert watched(terminal=False) == ("True", "")
