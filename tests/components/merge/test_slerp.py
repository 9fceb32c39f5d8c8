"""SLERP against its formula in numpy, and the laws of an arc."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.merge.slerp import slerp
from components.weights import Checkpoint, Policy

SPEC = {"model_cfg": {}, "ancestry": "root"}
SHAPES = {"visual.a": (700, 800), "visual.b": (7,), "logit_scale": (), "head.weight": (3, 5)}  # the first takes several slabs


def tensors(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {key: random.normal(size=shape).astype(np.float32) for key, shape in SHAPES.items()}


def model(named: Mapping[str, np.ndarray]) -> Checkpoint:
    return Checkpoint.of({**named, "ids": np.arange(4)}, SPEC)


def values(vector: Any) -> dict[str, np.ndarray]:
    return dict(vector.tensors())


def arc(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    cosine = (a * b).sum() / norms if norms else 1.0
    if abs(cosine) > 0.9995:
        return (1 - t) * a + t * b
    omega = np.arccos(cosine)
    return (np.sin((1 - t) * omega) * a + np.sin(t * omega) * b) / np.sin(omega)


@pytest.mark.parametrize("t", [0.25, 0.5, 0.9])
@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])  # whatever the order of their digests
def test_every_tensor_lies_on_its_arc(t: float, first: int, second: int) -> None:
    a, b = tensors(first), tensors(second)
    b["visual.b"] = np.zeros(7, np.float32)  # no angle: a line
    found = values(slerp([model(a), model(b)], t, Policy(dtype="float64")))
    for key in SHAPES:
        np.testing.assert_allclose(found[key], arc(a[key], b[key], t), rtol=1e-12, atol=1e-12, err_msg=key)
    assert found["ids"].tolist() == [0, 1, 2, 3]


@given(st.floats(0.01, 0.99))
def test_equal_norms_are_kept_and_parallel_tensors_are_a_line(t: float) -> None:
    random = np.random.default_rng(0)
    turn, _ = np.linalg.qr(random.normal(size=(30, 30)))
    a = random.normal(size=30)
    found = values(slerp([Checkpoint.of({"w": a, "p": a}, SPEC), Checkpoint.of({"w": turn @ a, "p": -3 * a}, SPEC)], t))
    np.testing.assert_allclose(np.linalg.norm(found["w"]), np.linalg.norm(a), rtol=1e-12)
    np.testing.assert_allclose(found["p"], (1 - t) * a + t * -3 * a, rtol=1e-12, atol=1e-12)


def test_the_ends_are_copies_that_the_other_model_cannot_touch(tmp_path: Path) -> None:
    a, b = tensors(0), tensors(1)
    a["visual.b"][0] = -0.0
    broken = {**b, "visual.b": np.full(7, np.nan, np.float32)}
    for t, models in ((0, [model(a), model(broken)]), (1.0, [model(broken), model(a)])):
        found = values(slerp(models, t))
        assert all(found[key].tobytes() == a[key].tobytes() for key in SHAPES)
    half = slerp([model(a), model(b)], 0.5)
    half.save(f"{tmp_path}/half")
    saved = Checkpoint(f"{tmp_path}/half")
    assert saved.spec["facts"] == {"rule": "slerp", "t": 0.5}
    assert all(array.tobytes() == values(half)[key].tobytes() for key, array in saved.tensors())
    assert values(slerp([model(a), model(a)], 0.3))["visual.a"].tobytes() == a["visual.a"].tobytes()


def test_two_models_and_a_point_between_them() -> None:
    for models, t in (([model(tensors(0))], 0.5), ([model(tensors(i)) for i in range(3)], 0.5), ([model(tensors(i)) for i in range(2)], 1.5)):
        with pytest.raises(ValueError, match="two models and t in"):
            slerp(models, t)
    with pytest.raises(ValueError, match="their ancestors differ"):
        slerp([model(tensors(0)), model(tensors(1)).with_spec(ancestry="other")], 0.5).assembly  # noqa: B018
