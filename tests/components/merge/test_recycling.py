"""Fusing, and the laws of recycling that need no data: where a run starts, and that a single run is its own mean."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data import Digits, Split
from components.data.digits import CLASSES
from components.merge import fused, uniform
from components.merge.fused import weights
from components.merge.recycled import recycled
from components.merge.towers import towers
from components.models.heads import zero_shot
from components.models.openclip import Config
from components.objectives.classification import CrossEntropy
from components.train import train
from components.types import Local
from components.updates.sgd import AdamW
from components.updates.state import read
from components.weights import Checkpoint
from tests.components.merge.test_laws import same, tensors


@pytest.mark.parametrize("r", [0.0, 1.0, 4.0, 16.0])
@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_the_weights_of_fusing_sum_to_exactly_one(n: int, r: float) -> None:
    drawn = [weights(n, r, seed, index) for seed in range(3) for index in range(3)]
    assert all(sum(each) == 1 and min(each) > 0 for each in drawn)
    assert all(max(each) <= np.exp(r) * min(each) * 1.001 for each in drawn)
    assert all(each == [Fraction(1, n)] * n for each in drawn) if r == 0 or n == 1 else len({tuple(each) for each in drawn}) == 9


@pytest.mark.parametrize("code", ["F64", "F32"])
def test_fusing_all_alike_is_the_uniform_mean(code: str) -> None:
    models = [Checkpoint.of(tensors(i, code), {"ancestry": "root"}) for i in range(5)]
    same(fused(models, r=0.0, seed=3, index=7), uniform(models))
    same(fused([models[0]] * 5), models[0])
    with pytest.raises(ValueError, match="give 0"):
        fused(models, r=-1.0)
    with pytest.raises(ValueError, match="fusing of no models"):
        fused([])


@pytest.fixture
def auxiliary(tiny: Config, base: Any, run: Local) -> Any:
    """The towers of a model that was tuned on a task of other classes."""
    init = zero_shot(base, tuple(reversed(CLASSES)), ("{}",), run=run)
    return towers(train(init, Split(Digits(), 0.8, 1.0), CrossEntropy(), update=AdamW(lr=1e-2, batch=16, warmup=0), steps=2, run=run))


def test_a_run_starts_at_the_auxiliary_towers_under_the_shared_head(auxiliary: Any, zero: Any) -> None:
    start = recycled(auxiliary, zero)
    assert start.spec["classes"] == list(CLASSES)
    found, own, shared = (dict(each.tensors()) for each in (start, auxiliary, zero))
    assert {key: value.tobytes() for key, value in found.items()} == {
        key: (shared if key.startswith("head.") else own)[key].tobytes() for key in found
    }
    assert any(own[key].tobytes() != shared[key].tobytes() for key in own)


@pytest.mark.parametrize("steps", [1, 7])
def test_probing_moves_the_head_alone_for_so_many_steps(auxiliary: Any, zero: Any, run: Local, tmp_path: Path, steps: int) -> None:
    """Frozen towers keep their bytes; the optimiser counts exactly the steps (the paper's code makes one more)."""
    states = []

    class Kept(Local):
        def checkpoint(self, step: int, write: Any, force: bool = False) -> None:
            write(str(tmp_path / str(step)))
            states.append(read(str(tmp_path / str(step)))[0]["optimiser"])

    start = recycled(auxiliary, zero)
    update = AdamW(lr=1e-2, batch=16, warmup=0)
    probed = dict(train(start, Split(Digits(), 0.0, 0.2), CrossEntropy(), update=update, params="head.*", steps=steps, run=Kept(run.dir)).tensors())
    assert {key for key, value in start.tensors() if value.tobytes() != probed[key].tobytes()} == {"head.weight", "head.bias"}
    assert len(states) == steps and {float(value) for key, value in states[-1].items() if key.endswith("/step")} == {float(steps)}
    assert {key.rpartition("/")[0] for key in states[-1]} == {"head.weight", "head.bias"}


def test_the_mean_of_one_run_is_the_run(zero: Any, tmp_path: Path) -> None:
    zero.save(str(tmp_path / "run"))
    uniform([Checkpoint(str(tmp_path / "run"))]).save(str(tmp_path / "mean"))
    for name in ("open_clip_model.safetensors", "head.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "mean" / name).read_bytes()
