"""Cosines of task vectors against numpy on flattened arrays."""

from __future__ import annotations

import numpy as np
import pytest

from components.analysis.cosine import cosines
from components.weights import Checkpoint

SPEC = {"model_cfg": {}, "ancestry": "root"}


def make(seed: int, scale: float = 1.0) -> Checkpoint:
    random = np.random.default_rng(seed)
    big, small = random.normal(size=(300, 301)).astype(np.float32) * scale, random.normal(size=7).astype(np.float32)
    return Checkpoint.of({"a": big, "b": small, "n": np.arange(5)}, SPEC)


def test_cosines_are_those_of_the_flattened_moves() -> None:
    base, models = make(0), [make(1), make(2), make(3, 5.0)]
    flat = [np.concatenate([dict(one.tensors())[key].astype(np.float64).ravel() for key in "ab"]) for one in (base, *models)]
    moves = [one - flat[0] for one in flat[1:]]
    expected = [[float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) for y in moves] for x in moves]
    np.testing.assert_allclose(cosines(models, base), expected, atol=1e-12)


def test_a_model_that_did_not_move_has_cosine_0_and_opposites_minus_1() -> None:
    base, tuned = make(0), make(1)
    back = Checkpoint.of(dict((2 * base - tuned).tensors()), SPEC)
    found = cosines([tuned, back, base], base)
    assert found[2] == [0, 0, 0]
    np.testing.assert_allclose(found[0], [1, -1, 0], atol=1e-6)


def test_models_that_cannot_be_averaged_have_no_angle() -> None:
    with pytest.raises(ValueError, match="their ancestors differ"):
        cosines([make(1)], make(0).with_spec(ancestry="other"))
