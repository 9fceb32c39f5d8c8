"""Two processes that train one model: the losses are those of one, both go on from one state, whoever left it, and stop when the first is to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components.weights import Checkpoint

WORKER = """
import json, os, sys
import torch, torch.distributed as dist
import components.train as loop
from components.data.digits import Digits
from components.data.split import Split
from components.models.classifier import Classifier
from components.objectives.classification import CrossEntropy
from components.types import Local
from components.updates.sgd import AdamW
from components.weights import Checkpoint

folder, rank, world, again = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
loop.EVERY = 1
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet-{again}", rank=rank, world_size=world)


class Kept(Local):
    "Only the first process has states, and is asked whether to stop; all are interrupted."
    def __init__(self, name, stop=0, enough=0, by=world):
        super().__init__(f"{folder}/{name}-{rank}-{world}", rank=rank, world=world)
        self.folder, self.stop, self.last = f"{folder}/{name}-state-{by}", stop, enough
    def restore(self):
        return self.folder if rank == 0 and os.path.exists(self.folder) else None
    def checkpoint(self, step, write, force=False):
        if step == self.stop:
            if rank == 0:
                write(self.folder)
            raise KeyboardInterrupt
    def enough(self, step, steps, value):
        return rank == 0 and step == self.last


def train(run, steps, monitor=None, **more):
    update = AdamW(lr=5e-3, batch=24, warmup=5, accumulation=3 - world, **more)
    data, objective = Split(Digits(), 0.0, 0.6), CrossEntropy(smoothing=0.1, mixup=0.3)
    return loop.train(Checkpoint(f"{folder}/zero"), data, objective, update=update, steps=steps, monitor=monitor, run=run)


def keep(name, run, result):
    result.save(f"{folder}/{name}-{rank}-{world}")
    with open(f"{folder}/{name}-{rank}-{world}.json", "w") as file:
        json.dump([metrics["loss"] for _, metrics in run.history if "loss" in metrics], file)


def widen():
    narrow = Classifier.normalised
    torch.set_default_dtype(torch.float64)
    Classifier.normalised = lambda self, images: narrow(self, images).double()
    torch.Tensor.float = torch.Tensor.double


if again:
    widen()
    run = Kept("resized", by=3 - world)
    keep("resized", run, train(run, 50))
for name in () if again else ("float32", "float64"):
    if name == "float64":
        widen()
    run = Kept(name)
    keep(name, run, train(run, 50))
    if name == "float64":
        try:
            train(Kept("resized", stop=30), 50)
        except KeyboardInterrupt:
            pass
    if name == "float64" or world == 1:
        continue
    watch = loop.Monitor(Split(Digits(), 0.6, 0.7), every=2, keep="best")
    for name, stops in (("whole", ()), ("halved", (5,))):
        for stop in (*stops, 0):
            run = Kept(name, stop)
            try:
                keep(name, run, train(run, 8, watch, average=0.7))
            except KeyboardInterrupt:
                dist.barrier()
    run = Kept("stopped", enough=4)
    keep("stopped", run, train(run, 8, watch))
if world > 1:
    dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def trained(zero: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    zero.save(str(folder / "zero"))
    command = [sys.executable, "-W", "error::UserWarning:components", "-c", WORKER, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    for again in "01":
        workers = [subprocess.Popen([*command, str(rank), str(world), again], env=environment) for rank, world in ((0, 1), (0, 2), (1, 2))]
        assert [worker.wait(timeout=240) for worker in workers] == [0, 0, 0]
    return folder


def losses(folder: Path, name: str) -> list[float]:
    found: list[float] = json.loads((folder / f"{name}.json").read_text())
    return found


def bytes_of(folder: Path, name: str) -> dict[str, bytes]:
    return {key: value.tobytes() for key, value in Checkpoint(str(folder / name)).tensors()}


def test_two_processes_have_the_loss_curve_of_one_with_two_micro_batches(trained: Path) -> None:
    apart = {}
    for name in ("float32", "float64"):
        one, two, beside = (losses(trained, f"{name}-{rank}-{world}") for rank, world in ((0, 1), (0, 2), (1, 2)))
        assert len(one) == 50 and two == beside and min(one[-5:]) < one[0]
        apart[name] = max(abs(a - b) / a for a, b in zip(one, two, strict=True))
    print(f"\nlosses of two processes and of one, relative: {apart['float64']:.1e} in float64, {apart['float32']:.1e} in float32")
    assert apart["float64"] < 1e-9 and apart["float32"] < 1e-4
    assert losses(trained, "float32-0-1") != losses(trained, "float64-0-1")


def test_all_go_on_from_the_state_of_the_first(trained: Path) -> None:
    assert bytes_of(trained, "halved-0-2") == bytes_of(trained, "halved-1-2") == bytes_of(trained, "whole-0-2")
    assert losses(trained, "halved-1-2") == losses(trained, "whole-0-2")[5:]


def test_one_goes_on_from_the_state_of_two_and_two_from_that_of_one(trained: Path) -> None:
    """As when a machine comes back with fewer GPUs, or more."""
    whole = losses(trained, "float64-0-1")[30:]
    for name in ("resized-0-1", "resized-0-2", "resized-1-2"):
        assert losses(trained, name) == pytest.approx(whole, rel=1e-9)


def test_all_stop_when_the_first_is_told_to(trained: Path) -> None:
    assert len(losses(trained, "stopped-0-2")) == len(losses(trained, "stopped-1-2")) == 4
    assert Checkpoint(str(trained / "stopped-1-2")).spec["facts"]["training"][-1]["stopped"] == 4
