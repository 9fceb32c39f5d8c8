"""Fisher information against a linear softmax model written out in numpy, and the mean that it weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from components.data.digits import Digits
from components.data.split import Sample
from components.merge.fisher import fisher, fisher_merge
from components.models import build
from components.types import Diverged, Local
from components.weights import Checkpoint, Policy
from components.weights.statistics import Statistics

SPEC = {"kind": "open_clip", "model_cfg": {"embed_dim": 2}, "preprocess_cfg": {}, "ancestry": "base"}
WIDE = Policy(dtype="float64")


def model(seed: int) -> Checkpoint:
    random = np.random.default_rng(seed)
    return Checkpoint.of({"w": random.normal(size=(5, 3)), "unmeasured": random.normal(size=4), "ids": np.arange(3)}, SPEC)


def statistics(one: Checkpoint, seed: int, **more: Any) -> Statistics:
    return Statistics.of({"w": np.random.default_rng(seed).uniform(0, 1, (5, 3)), **more}, {"is": "fisher", "model": one.digest})


def test_of_the_head_is_what_numpy_says(zero: Any, run: Local) -> None:
    """For logits W f + b, d log p_y / d W_k = (1[k = y] - p_k) f: the expectation over y is p_k (1 - p_k) f^2."""
    found = fisher(zero, Digits(), examples=12, draws=0, run=run)
    module, chosen = build(zero), Sample(Digits(), 12).open(run)
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack(chosen.images(range(12)))).permute(0, 3, 1, 2)
        features, p = module.features(pixels).double().numpy(), module(pixels).double().softmax(1).numpy()
    spread = p * (1 - p)
    got = dict(zip(found.part.layout, map(found.array, found.part.layout), strict=True))
    np.testing.assert_allclose(got["head.weight"], spread.T @ features**2 / 12, rtol=1e-4)
    np.testing.assert_allclose(got["head.bias"], spread.mean(axis=0), rtol=1e-4)
    assert {key.split(".")[0] for key in got} == {"visual", "head"}, "the logits do not depend on the text tower"
    assert set(got) == {key for key, _ in module.named_parameters() for key in [key.removeprefix("model.")] if key.startswith(("visual", "head"))}


def test_drawn_labels_give_the_expectation_in_the_long_run(zero: Any, run: Local) -> None:
    exact, drawn = (fisher(zero, Digits(), examples=2, draws=draws, run=run).array("head.bias") for draws in (0, 400))
    np.testing.assert_allclose(drawn, exact, rtol=0.35)
    one, again, other = (fisher(zero, Digits(), examples=2, seed=seed, run=run).array("head.bias") for seed in (0, 0, 1))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_merging_is_the_formula_in_any_order() -> None:
    models = [model(i) for i in range(3)]
    measured = [statistics(one, i) for i, one in enumerate(models)]
    w, f = (np.stack([dict(one.tensors())["w"] for one in models]), np.stack([one.array("w") for one in measured]))
    shares = np.array([1.0, 0.5, 2.0])[:, None, None]
    found = dict(fisher_merge(models, measured, [1.0, 0.5, 2.0], WIDE).tensors())
    np.testing.assert_allclose(found["w"], (shares * f * w).sum(0) / (shares * f).sum(0), rtol=1e-12)
    assert np.array_equal(found["ids"], np.arange(3))
    plain = np.average([dict(one.tensors())["unmeasured"] for one in models], axis=0, weights=[1, 0.5, 2])
    np.testing.assert_allclose(found["unmeasured"], plain, rtol=1e-12)
    turned = dict(fisher_merge(models[::-1], measured[::-1], [2.0, 0.5, 1.0], WIDE).tensors())
    assert turned["w"].tobytes() == found["w"].tobytes()


def test_equal_information_is_the_mean_and_one_model_is_itself() -> None:
    models = [model(i) for i in range(3)]
    for value in (0.3, 0.0):  # nothing known anywhere is the floor everywhere
        equal = [Statistics.of({"w": np.full((5, 3), value)}, {"is": "fisher"}) for _ in models]
        mean = np.mean([dict(one.tensors())["w"] for one in models], axis=0)
        np.testing.assert_allclose(dict(fisher_merge(models, equal, None, WIDE).tensors())["w"], mean, rtol=1e-12)
    alone = dict(fisher_merge(models[:1], [statistics(models[0], 0)]).tensors())
    assert alone["w"].tobytes() == dict(models[0].tensors())["w"].tobytes()


def test_statistics_of_other_models_are_refused() -> None:
    models = [model(0), model(1)]
    measured = [statistics(one, 0) for one in models]
    with pytest.raises(ValueError, match="2 models and 1 fisher statistics"):
        fisher_merge(models, measured[:1])
    with pytest.raises(ValueError, match="not all 0"):
        fisher_merge(models, measured, [0.0, 0.0])
    with pytest.raises(ValueError, match="statistics 0 are of another model"):
        fisher_merge(models, measured[::-1])
    with pytest.raises(ValueError, match="'gram', not 'fisher'"):
        fisher_merge(models[:1], [Statistics.of({}, {"is": "gram"})])
    with pytest.raises(ValueError, match=r"statistics 0 and 1 are not about the same tensors, e\.g\. unmeasured"):
        dict(fisher_merge(models, [measured[0], statistics(models[1], 0, unmeasured=np.zeros(4))]).tensors())
    with pytest.raises(ValueError, match=r"w is \[2\] in"):
        dict(fisher_merge(models[:1], [Statistics.of({"w": np.zeros(2)}, {"is": "fisher"})]).tensors())
    with pytest.raises(ValueError, match="give 1 or more"):
        fisher(models[0], Digits(), draws=-1, run=Local("nowhere"))


def test_the_broken_model_is_named_and_a_head_is_needed(base: Any, zero: Any, run: Local) -> None:
    with pytest.raises(ValueError, match="needs a head"):
        fisher(base, Digits(), run=run)
    broken = Checkpoint.of({**dict(zero.tensors()), "head.bias": np.array([np.nan] + [0] * 9, np.float32)}, zero.spec)
    with pytest.raises(Diverged, match=r"gradients of Checkpoint.*not finite"):
        fisher(broken, Digits(), examples=1, run=run)
