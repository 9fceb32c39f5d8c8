"""Model Stock against its formula in numpy, and what it makes of models that moved alike, apart and not at all."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest

from components.merge.model_stock import model_stock
from components.weights import Checkpoint, Policy, mean

SPEC = {"model_cfg": {}, "ancestry": "root"}
SHAPES = {"visual.a": (700, 800), "visual.b": (7,), "logit_scale": (), "head.weight": (3, 5)}


def tensors(seed: int, like: float = 0.0) -> dict[str, np.ndarray]:
    """Random, with a part that all seeds but 0 share."""
    own, shared = np.random.default_rng(seed), np.random.default_rng(99)
    return {key: (own.normal(size=s) + like * shared.normal(size=s)).astype(np.float32) for key, s in SHAPES.items()}


def model(named: dict[str, np.ndarray]) -> Checkpoint:
    return Checkpoint.of({**named, "ids": np.arange(4)}, SPEC)


def values(vector: Any) -> dict[str, np.ndarray]:
    return dict(vector.tensors())


def stock(base: np.ndarray, models: list[np.ndarray]) -> np.ndarray:
    start, n = base.astype(np.float64).ravel(), len(models)
    moved = [each.astype(np.float64).ravel() - start for each in models]
    c = max(0.0, np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in combinations(moved, 2)]))
    return (start + n * c / (1 + (n - 1) * c) * np.mean(moved, axis=0)).reshape(base.shape)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_every_tensor_goes_its_own_part_of_the_way(n: int) -> None:
    base, others = tensors(0), [tensors(i, 1.0) for i in range(1, n + 1)]
    found = values(model_stock(model(base), [model(each) for each in others], Policy(dtype="float64")))
    for key in SHAPES:
        np.testing.assert_allclose(found[key], stock(base[key], [each[key] for each in others]), rtol=1e-11, atol=1e-12, err_msg=key)


def test_models_that_moved_alike_give_their_mean_and_the_order_cannot_show() -> None:
    base, one = model(tensors(0)), model(tensors(1))
    for models in ([one], [one, one], [one, one.with_spec(name="again"), one]):
        found = values(model_stock(base, models))
        assert all(array.tobytes() == found[key].tobytes() for key, array in one.tensors())
    models = [model(tensors(i, 1.0)) for i in (1, 2, 3)]
    assert len({b"".join(array.tobytes() for _, array in model_stock(base, list(order)).tensors()) for order in permutations(models)}) == 1


def test_moves_at_right_angles_or_against_each_other_stay_at_the_base() -> None:
    start, step = np.ones((4, 4)), np.eye(4)
    base, *others = (Checkpoint.of({"w": w, "still": start}, SPEC) for w in (start, start + step, start + step[::-1], start - step))
    assert np.array_equal(values(model_stock(base, others[:2]))["w"], start)
    assert np.array_equal(values(model_stock(base, [others[0], others[2]]))["w"], start)
    assert np.array_equal(values(model_stock(base, others))["still"], start)


def test_half_the_way_between() -> None:
    """Two moves at 60 degrees: t = 2 c / (1 + c) = 2 / 3 of the way to the mean."""
    base = Checkpoint.of({"w": np.zeros(2)}, SPEC)
    models = [Checkpoint.of({"w": w}, SPEC) for w in (np.array([1.0, 0.0]), np.array([0.5, 0.75**0.5]))]
    np.testing.assert_allclose(values(model_stock(base, models))["w"], 2 / 3 * values(mean(models))["w"])
    with pytest.raises(ValueError, match="no models"):
        model_stock(base, [])
