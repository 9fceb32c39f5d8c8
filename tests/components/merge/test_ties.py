"""TIES against its definition in a few lines of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.merge.ties import ties
from components.weights import Checkpoint, NotFinite, Policy, mean

SPEC = {"kind": "open_clip", "model_cfg": {"embed_dim": 2}, "preprocess_cfg": {}, "ancestry": "base"}
WIDE = Policy(dtype="float64")


def model(seed: int, size: float = 1.0) -> Checkpoint:
    random = np.random.default_rng(seed)
    named = {"w": random.normal(size=(37, 11)), "v": 0.1 * random.normal(size=600), "b": random.normal(size=(2, 3, 4)), "scalar": random.normal()}
    return Checkpoint.of({**{key: np.asarray(size * array) for key, array in named.items()}, "ids": np.arange(3)}, SPEC)


def of(one: Any) -> dict[str, np.ndarray]:
    return {key: array for key, array in one.tensors() if key != "ids"}


def flat(one: Any) -> np.ndarray:
    named = of(one)
    return np.concatenate([named[key].ravel() for key in sorted(named)])


def defined(base: np.ndarray, models: list[np.ndarray], k: float, coefficient: float = 1.0) -> np.ndarray:
    tau = np.stack(models) - base
    rank = max(1, int(k * tau.shape[1] / 100))
    tau *= np.abs(tau) >= np.sort(np.abs(tau), axis=1)[:, [-rank]]
    agree = (np.sign(tau) == np.sign(tau.sum(axis=0))) & (tau != 0)
    return base + coefficient * (tau * agree).sum(axis=0) / np.maximum(agree.sum(axis=0), 1)


@pytest.mark.parametrize("k", [0.01, 5, 20, 33.3, 80, 100])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_it_is_the_definition(k: float, count: int) -> None:
    base, models = model(0), [model(i + 1) for i in range(count)]
    expected = defined(flat(base), [flat(one) for one in models], k, 0.7)
    np.testing.assert_allclose(flat(ties(base, models, k, 0.7, WIDE)), expected, rtol=1e-12, atol=1e-14)


def test_keeping_all_of_one_model_is_the_model() -> None:
    base, tuned = (Checkpoint.of({key: array.astype(np.float32) for key, array in of(model(i)).items()}, SPEC) for i in (0, 1))
    assert flat(ties(base, [tuned], k=100)).tobytes() == flat(tuned).tobytes()


def test_equal_signs_and_nothing_trimmed_is_the_mean() -> None:
    base = Checkpoint.of(of(model(0)), SPEC)
    up = [Checkpoint.of({key: array + np.abs(of(model(i + 1))[key]) for key, array in of(base).items()}, SPEC) for i in range(4)]
    np.testing.assert_allclose(flat(ties(base, up, k=100, policy=WIDE)), flat(mean(up)), rtol=1e-12)


def test_the_order_of_the_models_cannot_show() -> None:
    base, models = model(0), [model(i + 1) for i in range(4)]
    assert flat(ties(base, models)).tobytes() == flat(ties(base, models[::-1])).tobytes()


def test_what_did_not_change_has_no_vote_and_a_tie_keeps_the_base() -> None:
    base = Checkpoint.of({"w": np.zeros(3)}, SPEC)
    models = [Checkpoint.of({"w": np.array(row)}, SPEC) for row in ([1.0, 0.0, 2.0], [-1.0, 0.0, 4.0], [0.0, 0.0, 0.0])]
    assert of(ties(base, models, k=100))["w"].tolist() == [0, 0, 3]


def test_a_model_that_is_not_finite_is_named() -> None:
    broken = {key: np.full_like(array, np.nan) if key == "b" else array for key, array in of(model(2)).items()}
    with pytest.raises(NotFinite, match="nan in b"):
        of(ties(model(0), [model(1), Checkpoint.of({**broken, "ids": np.arange(3)}, SPEC)]))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="no models"):
        ties(model(0), [])
    for k in (0, -1, 101, float("nan")):
        with pytest.raises(ValueError, match="at most 100 percent"):
            ties(model(0), [model(1)], k)
