"""Toy components of plain numbers, importable by worker processes."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.predictions import Predictions
from components.types import DataError, Diverged, File, maps, ranks, revision
from components.updates.sgd import AdamW
from components.weights import Checkpoint
from components.weights.destination import write


class Blob:
    """A payload: the bytes of one file."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def save(self, url: str, map: Any) -> list[File]:
        return [write(url, "blob", [self.content])]

    @classmethod
    def load(cls, url: str) -> Blob:
        return cls(Path(url, "blob").read_bytes())


@revision(1)
def number(value: float) -> float:
    return value


@revision(1)
def add(terms: list[float]) -> float:
    return sum(terms)


@revision(1)
def summed(values: list[float]) -> float:
    return sum(values)


@revision(1)
def paired(left: list[float], right: list[float], names: list[str] | None = None) -> list[list[float]]:
    """Members that belong together by index."""
    return [list(pair) for pair in zip(left, right, strict=True)]


@revision(1)
def named(models: dict[str, float]) -> dict[str, float]:
    return models


@revision(1)
def count(to: int, scale: float = 1.0, pause: float = 0.0, *, run: Any) -> list[float]:
    """Counts with a resumable state; the values of the steps before a resume come from the state."""
    values: list[float] = []
    folder = run.restore()
    if folder:
        values = [float(line) for line in Path(folder, "values").read_text().split()]
    for step in range(len(values), to):
        values.append(step * scale)
        time.sleep(pause)
        run.log(step, value=values[-1])
        run.checkpoint(step + 1, lambda f: Path(f, "values").write_text("\n".join(map(str, values))) and None)
    return values


@revision(1)
def walk(start: float, steps: int) -> float:
    """As far as its steps."""
    return start + steps


@revision(1)
def unlucky(index: int, bad: int, kind: str = "diverged") -> float:
    """Fails for the index `bad`, in the way that `kind` names."""
    if index == bad:
        if kind == "diverged":
            raise Diverged(f"trial {index}: loss is nan at step 3; lower the learning rate")
        if kind == "value":
            raise ValueError("a bad argument; give another")
        os.kill(os.getpid(), signal.SIGKILL)
    return float(index)


@revision(1)
def dies_once(marker: str, value: float) -> float:
    """Kills its process the first time, and gives the value the second."""
    if not os.path.exists(marker):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@revision(1)
def dies_at(step: int, to: int, marker: str, *, run: Any) -> list[float]:
    """Counts as `count` does, and kills its process the first time that it reaches a step whose state is kept."""
    values: list[float] = []
    folder = run.restore()
    if folder:
        values = [float(line) for line in Path(folder, "values").read_text().split()]
    for i in range(len(values), to):
        values.append(i * 0.1)
        run.log(i, value=values[-1])
        run.checkpoint(i + 1, lambda f: Path(f, "values").write_text("\n".join(map(repr, values))) and None, force=True)
        if i == step and not os.path.exists(marker):
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return values


@revision(1)
def strays(step: int, to: int, marker: str, how: str, *, run: Any) -> list[float]:
    """Counts as `count` does; the first time that it reaches a step it is told to leave, takes its time, or hangs, letting go of Python or not."""
    values: list[float] = []
    if folder := run.restore():
        values = [float(line) for line in Path(folder, "values").read_text().split()]
    for i in range(len(values), to):
        values.append(i * 0.1)
        run.log(i, value=values[-1])
        if i == step and not os.path.exists(marker):
            Path(marker).touch()
            if how == "told":
                os.kill(os.getpid(), signal.SIGTERM)
            elif how == "looks":
                for _ in range(12):
                    time.sleep(0.5)
                    run.alive()
            elif how == "hangs":
                time.sleep(1000)
            else:
                ctypes.PyDLL(None).sleep(1000)
            time.sleep(0.2)
        run.checkpoint(i + 1, lambda f: Path(f, "values").write_text("\n".join(map(repr, values))) and None, force=how != "told" and i == step - 1)
    return values


@revision(1)
def stumbles(marker: str, times: int, kind: str = "RuntimeError") -> int:
    """Fails so often, with what may be chance or is not; then how often it was tried."""
    tries = Path(marker).read_text().count("x") if os.path.exists(marker) else 0
    Path(marker).write_text("x" * (tries + 1))
    if tries < times:
        raise {"RuntimeError": RuntimeError("an unspecified launch failure"), "TypeError": TypeError("no such argument")}[kind]
    return tries + 1


@revision(1)
@dataclass(frozen=True)
class Large:
    """An update with a batch."""

    batch: int = 4096


@revision(1)
def exhausts(index: int, bad: int, update: Large) -> float:
    """For the index `bad` there is not enough memory."""
    if index == bad:
        raise MemoryError("Unable to allocate 1.5 TiB")
    return float(index)


@revision(1)
def flaky(marker: str, failures: int) -> int:
    """An input or output error, `failures` times; then how often it was tried."""
    tries = Path(marker).read_text().count("x") if os.path.exists(marker) else 0
    Path(marker).write_text("x" * (tries + 1))
    if tries < failures:
        raise ConnectionResetError(f"{marker}: the connection was reset")
    return tries + 1


@revision(1)
def big(size: int) -> Blob:
    return Blob(b"x" * size)


@revision(1)
def rows(n: int) -> Predictions:
    return Predictions(ids=np.arange(n).astype(str), labels=np.zeros(n, np.int64), logits=np.eye(n, 2, dtype=np.float32))


@revision(1)
def tensor(n: int, pause: float = 0.0) -> Checkpoint:
    """n float32 numbers."""
    time.sleep(pause)
    return holding(np.ones(int(n), np.float32))


def holding(values: Any) -> Checkpoint:
    spec = {"kind": "open_clip", "name": "toy", "model_cfg": {}, "preprocess_cfg": {}, "ancestry": "a" * 64}
    return Checkpoint.of({"visual.weight": np.asarray(values, np.float32)}, spec)


@revision(1)
def weigh(things: list[Any]) -> float:
    """Rows of predictions, and the sum of all numbers of checkpoints, each of which is read."""
    return float(sum(len(thing) if isinstance(thing, Predictions) else sum(value.sum() for _, value in thing.tensors()) for thing in things))


@revision(1)
def interval(index: int, seconds: float) -> list[float]:
    """When it started and when it ended."""
    started = time.time()
    time.sleep(seconds)
    return [started, time.time()]


@revision(1)
@maps
def spread(values: list[float], *, run: Any) -> list[float]:
    """Twice each value, by `run.map`."""
    return list(run.map(doubled, [{"value": value} for value in values]))


@revision(1)
@maps
def lasting(index: int, *, run: Any) -> list[float]:
    """When it started and when it ended, with an item of half a second between."""
    started = time.time()
    run.map(interval, [{"index": index, "seconds": 0.5}])
    return [started, time.time()]


def doubled(value: float) -> float:
    return 2 * value


@revision(1)
@maps
def visited(visitors: int, *, run: Any) -> list[Any]:
    """How many items are worked on at once, and what each finds of the `run` that it takes along."""
    return [run.parallel, *run.map(visit, [{"number": number, "cache": run.cache, "run": run} for number in range(visitors)])]


def visit(number: int, cache: str, run: Any) -> list[Any]:
    run.log(number, value=1.0)
    if number == 7:
        raise DataError("the seventh is damaged")
    return [run.cache == cache, os.path.isdir(run.dir), run.restore(), run.parallel]


@revision(1)
@maps
def in_vain(folder: str, *, run: Any) -> int:
    """Its first item fails once all but the last few are under way; the others would leave a file."""
    return len(run.map(slow, [{"number": number, "folder": folder} for number in range(8)]))


def slow(number: int, folder: str) -> None:
    if number == 0:
        raise DataError("the first is damaged")
    time.sleep(1.0)
    Path(folder, str(number)).touch()


@revision(1)
def climb(to: int, slope: float, monitor: int = 1, bad: float = -1.0, marker: str = "", *, run: Any) -> list[float]:
    """Height after each step of a climb, resumable; its monitor looks every so many steps. It diverges above the slope `bad`.

    marker: a file that counts the trials which pass step 3; with the third its process is killed. "always": that of each which is steep.
    """
    heights = [float(line) for line in Path(folder, "heights").read_text().split()] if (folder := run.restore()) else []
    for step in range(len(heights) + 1, to + 1):
        if 0 <= bad < slope:
            raise Diverged(f"slope {slope}")
        if marker == "always" and slope > 0.5:
            os.kill(os.getpid(), signal.SIGKILL)
        heights.append(slope * step)
        if step % monitor == 0 and run.enough(step, to, heights[-1]):
            break
        run.checkpoint(step, lambda f: Path(f, "heights").write_text("\n".join(map(repr, heights))) and None, force=True)
        if marker not in ("", "always") and step == 3 and passed(marker) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return heights


@revision(1)
def climbed(to: int, slope: float, monitor: int = 1, *, run: Any) -> Checkpoint:
    """As `climb`, with a payload."""
    return holding(climb(to, slope, monitor, run=run))


def passed(marker: str) -> int:
    with open(marker, "ab", buffering=0) as file:
        file.write(b"x")
        return file.tell()


@revision(1)
def gathered(things: list[Any]) -> int:
    """How many there are."""
    return len(things)


@ranks
@revision(1)
def shares(
    values: list[float], scale: float = 1.0, steps: int = 3, monitor: int = 0, kill: str = "", fail: str = "", pause: float = 0.0, *, run: Any
) -> list[float]:  # fmt: skip
    """Each process adds up its share of the values, at each step once more; the sum of all is the result, and how many they were its last item.

    At the second step: kill, a file that is not there yet: the last process is killed; fail, "0" or "1": that process raises. pause: seconds that a
    step takes; its state then is kept only when it is due.
    """
    import torch
    from torch import distributed as dist

    from components.updates.agreed import stops

    so_far = [0, 0.0]
    if folder := run.restore():
        so_far = json.loads(Path(folder, "state").read_text())
    if run.world > 1:
        dist.broadcast_object_list(so_far)
    for step in range(int(so_far[0]) + 1, steps + 1):
        if step == 2 and fail == str(run.rank):
            raise DataError(f"rank {fail} is damaged")
        if step == 2 and kill and run.rank == run.world - 1 and not Path(kill).exists():
            Path(kill).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        mine = torch.tensor([sum(values[run.rank :: run.world]) * scale], dtype=torch.float64)
        if run.world > 1:
            dist.all_reduce(mine)
        so_far = [step, so_far[1] + float(mine)]
        run.log(step, total=so_far[1])
        if monitor and stops(run, step, steps, so_far[1]):
            break
        state = json.dumps(so_far)
        run.checkpoint(step, lambda folder, state=state: Path(folder, "state").write_text(state) and None, force=not pause)
        time.sleep(pause)
    return [so_far[1], run.world]


@revision(1)
@dataclass(frozen=True)
class Deadly(AdamW):
    """The last process is killed before a step, or `halts` there, where the file `kill` is not there yet."""

    kill: str = ""
    halts: bool = False
    at: int = 0

    def bind(self, bound: Any, trained: Any, steps: int, run: Any) -> Any:
        stepper = super().bind(bound, trained, steps, run)
        draw = stepper.draw

        def deadly(n: int, step: int) -> Any:
            if step == self.at and self.kill and run.rank == run.world - 1 and not Path(self.kill).exists():
                Path(self.kill).touch()
                if self.halts:
                    raise DataError("halted")
                os.kill(os.getpid(), signal.SIGKILL)
            return draw(n, step)

        stepper.draw = deadly
        return stepper


@revision(1)
def accelerators(index: int = 0) -> str:
    """The GPUs that Ray gave this process."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "")
