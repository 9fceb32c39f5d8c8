"""Toys whose steps take time, importable by the workers of a cluster. What they reach, they tell in a folder of the machine, `TOLD`."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from components.types import revision


def tell(name: str, step: int) -> None:
    with open(Path(os.environ["TOLD"], name), "a") as file:
        file.write(f"{step} {os.getpid()}\n")


@revision(1)
def steps(index: int, to: int, pause: float, *, run: Any) -> list[float]:
    """Half of the value before and the step, after each step; each takes `pause` seconds. It tells `step-INDEX` and `state-INDEX`."""
    values = list(map(float, Path(folder, "values").read_text().split())) if (folder := run.restore()) else []

    def write(folder: str) -> None:
        Path(folder, "values").write_text("\n".join(map(repr, values)))
        tell(f"state-{index}", len(values))

    while len(values) < to:
        values.append((values[-1] if values else float(index)) / 2 + len(values))
        time.sleep(pause)
        run.log(len(values), value=values[-1])
        tell(f"step-{index}", len(values))
        run.checkpoint(len(values), write)
    return values


@revision(1)
def climbs(to: int, slope: float, pause: float, monitor: int = 1, *, run: Any) -> list[float]:
    """Height after each step of a climb; its monitor looks at each."""
    heights = list(map(float, Path(folder, "heights").read_text().split())) if (folder := run.restore()) else []
    while len(heights) < to:
        heights.append(slope * (len(heights) + 1))
        time.sleep(pause)
        tell(f"climb-{slope!r}", len(heights))
        if run.enough(len(heights), to, heights[-1]):
            break
        run.checkpoint(len(heights), lambda f: Path(f, "heights").write_text("\n".join(map(repr, heights))) and None)
    return heights


def expected(index: int, to: int) -> list[float]:
    values: list[float] = []
    while len(values) < to:
        values.append((values[-1] if values else float(index)) / 2 + len(values))
    return values


@revision(1)
def sleeps(index: int, seconds: float) -> int:
    time.sleep(seconds)
    return index


@revision(1)
def works(index: int, rounds: int) -> str:
    """So many rounds of a hash, on one core."""
    return hashlib.pbkdf2_hmac("sha256", str(index).encode(), b"", rounds).hex()
