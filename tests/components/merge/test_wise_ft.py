"""Laws of the line from a zero-shot model to a fine-tuned one, and of the one that Fisher information bends (arXiv:2109.01903)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.merge import fisher_wise_ft, wise_ft
from components.weights import Checkpoint, Policy
from components.weights.statistics import Statistics

SPEC = {"kind": "open_clip", "model_cfg": {"embed_dim": 2}, "preprocess_cfg": {}, "classes": ["cat", "dog"], "ancestry": "root"}
WIDE = Policy(dtype="float64")


def model(seed: int, **other: Any) -> Checkpoint:
    random = np.random.default_rng(seed)
    named = {"w": random.normal(size=(5, 3)), "unmeasured": random.normal(size=4), "head.weight": random.normal(size=(2, 3))}
    return Checkpoint.of({**named, "ids": np.arange(3)}, {**SPEC, **other})


def fisher_of(one: Checkpoint, values: np.ndarray) -> Statistics:
    return Statistics.of({"w": values}, {"is": "fisher", "model": one.digest})


def values(one: Any) -> dict[str, np.ndarray]:
    return dict(one.tensors())


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3, 0.5])
def test_the_line_is_affine(alpha: float) -> None:
    """theta(a) + theta(1 - a) is theta(0) + theta(1): the coefficients to the last digit, the stored models to float64."""
    start, end = model(0), model(1)
    here, there = wise_ft(start, end, alpha), wise_ft(start, end, round(1 - alpha, 1))
    assert {weight.to_json() for _, weight in (here + there).terms} == {"1"}
    for key in ("w", "unmeasured", "head.weight"):
        np.testing.assert_allclose(values(here)[key] + values(there)[key], values(start)[key] + values(end)[key], rtol=0, atol=1e-15)


def test_a_line_from_a_point_of_the_line_is_that_line() -> None:
    """wise(wise(t0, t1, a), t1, b) is wise(t0, t1, a + b - ab), also where the first was stored."""
    start, end = model(0), model(1)
    first, whole = wise_ft(start, end, 0.3), wise_ft(start, end, 0.65)
    twice = wise_ft(first, end, 0.5)  # type: ignore[arg-type]
    assert [(one.key, weight.to_json()) for one, weight in twice.terms] == [(one.key, weight.to_json()) for one, weight in whole.terms]
    stored = Checkpoint.of(values(first), first.spec)
    for key in ("w", "unmeasured", "head.weight"):
        np.testing.assert_allclose(values(wise_ft(stored, end, 0.5))[key], values(whole)[key], rtol=0, atol=1e-15)


def test_heads_whose_classes_stand_in_another_order_are_refused() -> None:
    for found in (wise_ft(model(0), model(1, classes=["dog", "cat"]), 0.5), bent(model(0), model(1, classes=["dog", "cat"]), 0.5)):
        with pytest.raises(ValueError, match=r"classes of their heads differ, e\.g\. number 0 is"):
            values(found)


def bent(start: Checkpoint, end: Checkpoint, alpha: float, f: tuple[np.ndarray, np.ndarray] | None = None) -> Any:
    f0, f1 = f or (np.ones((5, 3)), np.ones((5, 3)))
    return fisher_wise_ft(start, end, [fisher_of(start, f0), fisher_of(end, f1)], alpha, WIDE)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_fisher_information_bends_the_line_by_its_formula(alpha: float) -> None:
    """(c0 t0 + c1 t1) / (c0 + c1); what is below the floor counts as the floor, what was not measured is on the straight line."""
    start, end, random = model(0), model(1), np.random.default_rng(2)
    f0, f1 = (random.uniform(0, 1, (5, 3)).astype(np.float32) for _ in range(2))
    f0[0], f1[0, 0] = 0, 1e-12
    c0, c1 = (1 - alpha) * np.maximum(f0, 1e-8, dtype=np.float64), alpha * np.maximum(f1, 1e-8, dtype=np.float64)
    found, t0, t1 = values(bent(start, end, alpha, (f0, f1))), values(start), values(end)
    np.testing.assert_allclose(found["w"], (c0 * t0["w"] + c1 * t1["w"]) / (c0 + c1), rtol=1e-12)
    for key in ("unmeasured", "head.weight"):
        np.testing.assert_allclose(found[key], (1 - alpha) * t0[key] + alpha * t1[key], rtol=1e-12)
    assert np.array_equal(found["ids"], np.arange(3))


def test_equal_information_leaves_the_line_straight() -> None:
    start, end = model(0), model(1)
    for key, value in values(wise_ft(start, end, 0.3, WIDE)).items():
        np.testing.assert_allclose(values(bent(start, end, 0.3))[key], value, rtol=1e-12, err_msg=key)


@pytest.mark.parametrize("alpha", [0, 1])
def test_the_ends_of_the_bent_line_are_the_models(alpha: int) -> None:
    """Its -0.0 too, and nothing of a broken other end."""
    ends = [model(0), model(1)]
    named = values(ends[alpha])
    named["w"][0] = [-0.0, 0.0, 1e-310]
    ends[alpha] = Checkpoint.of(named, SPEC)
    ends[1 - alpha] = Checkpoint.of({**values(ends[1 - alpha]), "w": np.full((5, 3), np.nan)}, SPEC)
    found = values(bent(ends[0], ends[1], float(alpha)))
    assert all(found[key].tobytes() == array.tobytes() for key, array in named.items())


def test_beyond_the_ends_there_is_no_bent_line() -> None:
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"give 0 \(zero-shot\) to 1"):
            bent(model(0), model(1), alpha)
