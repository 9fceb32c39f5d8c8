"""MagMax against its definition in two lines of numpy."""

from __future__ import annotations

import numpy as np
import pytest

from components.merge import magmax
from components.weights import Checkpoint, Policy

SPEC = {"kind": "open_clip", "model_cfg": {"embed_dim": 2}, "preprocess_cfg": {}, "ancestry": "base"}
WIDE = Policy(dtype="float64")


def model(seed: int) -> Checkpoint:
    random = np.random.default_rng(seed)
    return Checkpoint.of({"w": random.normal(size=(37, 11)).astype(np.float32), "b": random.normal(size=600).astype(np.float32)}, SPEC)


def flat(one: object) -> np.ndarray:
    named = dict(one.tensors())  # type: ignore[attr-defined]
    return np.concatenate([named[key].ravel() for key in sorted(named)])


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("coefficient", [0.3, 1.0])
def test_it_is_the_definition(count: int, coefficient: float) -> None:
    base, models = model(0), [model(i + 1) for i in range(count)]
    moves = np.stack([flat(one).astype(np.float64) for one in models]) - flat(base)
    largest = np.take_along_axis(moves, np.abs(moves).argmax(axis=0)[None], axis=0)[0]
    np.testing.assert_allclose(flat(magmax(base, models, coefficient, WIDE)), flat(base) + coefficient * largest, rtol=1e-12, atol=1e-14)


def test_one_model_is_itself_and_the_order_cannot_show() -> None:
    base, models = model(0), [model(i + 1) for i in range(4)]
    assert flat(magmax(base, models[:1])).tobytes() == flat(models[0]).tobytes()
    assert flat(magmax(base, models)).tobytes() == flat(magmax(base, models[::-1])).tobytes()


def test_equal_moves_in_opposite_directions_go_up() -> None:
    base, up, down = (Checkpoint.of({"w": np.full(3, value, np.float32)}, SPEC) for value in (1, 3, -1))
    assert flat(magmax(base, [down, up])).tolist() == [3, 3, 3]


def test_no_models() -> None:
    with pytest.raises(ValueError, match="at least one"):
        magmax(model(0), [])
