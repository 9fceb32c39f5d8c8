"""BatchNorm statistics of an average, against what passes through its layers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from components.data.digits import CLASSES, Digits
from components.data.split import Sample
from components.evaluate import predict
from components.merge import batchnorm
from components.merge.batchnorm import BUFFERS, recompute
from components.merge.ties import ties
from components.models import build
from components.models.heads import zero_shot
from components.models.openclip import fresh
from components.types import Diverged, Local
from components.weights import Checkpoint, Policy, mean

RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}


@pytest.fixture(scope="module")
def pair(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """Two small CLIP ResNets of one ancestor whose weights and statistics differ."""
    run = Local(str(tmp_path_factory.mktemp("resnet")))
    first = zero_shot(fresh(replace(tiny, vision=json.dumps(RESNET)), 0, run=run), CLASSES, ("a {}",), run=run)
    random, start = np.random.default_rng(0), dict(first.tensors())
    moved = {
        key: array + 0.05 * random.uniform(size=array.shape).astype(array.dtype) if array.dtype == np.float32 else array
        for key, array in start.items()
    }
    first.save(f"{run.dir}/first")
    second = Checkpoint.of(moved, {**first.spec, "ancestry": Checkpoint(f"{run.dir}/first").spec["ancestry"]}, first.extras)
    second.save(f"{run.dir}/second")
    return [Checkpoint(f"{run.dir}/{name}") for name in ("first", "second")]


def mine(key: str) -> bool:
    return key.rpartition(".")[2] in BUFFERS


def test_the_statistics_are_those_of_a_direct_pass(pair: list[Checkpoint], run: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer's mean and unbiased variance of its own input, batch by batch, averaged over the batches."""
    monkeypatch.setattr(batchnorm, "SIZE", 20)
    with pytest.raises(ValueError, match="BatchNorm was trained"):
        mean(pair).assembly  # noqa: B018
    found = recompute(mean(pair), Sample(Digits(), 70), batches=3, run=run)
    facts = found.spec["facts"]["batchnorm"]
    assert facts == {"batches": 3, "examples": 60}
    module, examples = build(mean(pair, Policy(bn="average"))), Sample(Digits(), 70).open(run)
    expected: dict[str, list[Any]] = {}

    def look(name: str) -> Any:
        return lambda _, args, out: expected.setdefault(name, []).append((args[0].mean((0, 2, 3)), args[0].var((0, 2, 3))))

    layers = {name: layer for name, layer in module.model.named_modules() if isinstance(layer, torch.nn.BatchNorm2d)}
    for name, layer in layers.items():
        layer.register_forward_hook(look(name))
        layer.train()
    used = batchnorm.measure(build(mean(pair, Policy(bn="average"))), examples, 3, run)
    assert len({i for batch in used for i in batch}) == 60, "no example twice"
    with torch.no_grad():
        for indices in used:
            module.features(torch.from_numpy(np.stack(examples.images(indices))).permute(0, 3, 1, 2))
    got = dict(found.tensors())
    assert len(expected) == len(layers) > 10
    for name, seen in expected.items():
        for at, what in enumerate(("running_mean", "running_var")):
            np.testing.assert_allclose(got[f"{name}.{what}"], torch.stack([one[at] for one in seen]).mean(0), rtol=1e-4, atol=1e-5)
        assert got[f"{name}.num_batches_tracked"] == 3


def test_nothing_else_changes_and_the_result_is_a_model(pair: list[Checkpoint], run: Local) -> None:
    data = Sample(Digits(), 300)
    found, plain = recompute(mean(pair), data, run=run), dict(mean(pair, Policy(bn="average")).tensors())
    got = dict(found.tensors())
    assert set(got) == set(plain)
    assert all((got[key].tobytes() == plain[key].tobytes()) != (mine(key) and key.startswith("visual.")) for key in got)
    assert found.spec["ancestry"] == pair[0].spec["ancestry"] and found.spec["classes"] == list(CLASSES)
    leaves = {leaf.get("name"): leaf for leaf in found.spec["lineage"]["leaves"]}
    assert len(found.spec["lineage"]["leaves"]) == 3 and "BatchNorm statistics" in leaves
    found.save(f"{run.dir}/saved")
    assert np.array_equal(predict(Checkpoint(f"{run.dir}/saved"), data, run=run).logits, predict(found, data, run=run).logits)


def test_a_model_is_measured_as_it_is(pair: list[Checkpoint], run: Local) -> None:
    """Twice over the same data is once, and statistics that the model came with do not matter."""
    data = Sample(Digits(), 64)
    once = dict(recompute(pair[0], data, run=run).tensors())
    spoilt = {key: array * 3 + 1 if mine(key) and array.dtype == np.float32 else array for key, array in once.items()}
    again = dict(recompute(Checkpoint.of(spoilt, pair[0].spec, pair[0].extras), data, run=run).tensors())
    assert all(array.tobytes() == once[key].tobytes() for key, array in again.items())


def test_what_is_no_linear_combination_is_measured_too(pair: list[Checkpoint], run: Local) -> None:
    data = Sample(Digits(), 64)
    blend = ties(pair[0], pair, k=50, policy=Policy(bn="average"))
    found, plain = dict(recompute(ties(pair[0], pair, k=50), data, run=run).tensors()), dict(blend.tensors())
    assert all((found[key].tobytes() == plain[key].tobytes()) != (mine(key) and key.startswith("visual.")) for key in plain)


def test_what_cannot_be_measured_is_refused(zero: Any, pair: list[Checkpoint], run: Local) -> None:
    with pytest.raises(ValueError, match="no BatchNorm"):
        recompute(zero, Digits(), run=run)
    with pytest.raises(ValueError, match="at least 1"):
        recompute(pair[0], Digits(), 0, run=run)
    with pytest.raises(ValueError, match="no variance"):
        recompute(pair[0], Sample(Digits(), 1), run=run)
    broken = {key: np.full_like(array, 1e38) if key == "visual.conv1.weight" else array for key, array in pair[0].tensors()}
    with pytest.raises(Diverged, match="not finite on this data"):
        recompute(Checkpoint.of(broken, pair[0].spec, pair[0].extras), Sample(Digits(), 4), run=run)
