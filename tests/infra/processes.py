"""The processes of this machine, by /proc: who started whom, and what is left."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path


def parents() -> dict[int, int]:
    """{process: its parent}, of this machine."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(folder.name)] = int(parent)
    return found


def descendants(pid: int) -> dict[int, str]:
    """{process: its command} of everything below a process."""
    known, found = parents(), {pid: ""}
    while more := [child for child, parent in known.items() if parent in found and child not in found]:
        found |= {child: command(child) for child in more}
    return found


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def await_end(processes: dict[int, str], seconds: float = 20.0) -> None:
    """All of these processes end, or the test fails with their names."""
    until = time.monotonic() + seconds
    while left := {pid: name for pid, name in processes.items() if (pid in parents() and command(pid) == name) or (not name and pid in parents())}:
        assert time.monotonic() < until, f"still there: {left}"
        time.sleep(0.2)


@contextlib.contextmanager
def reaped(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """However the block ends, the process does not outlive it."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
