"""Two models side by side: numbers against numpy, and every way in which they may fail to correspond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.analysis.difference import difference
from components.weights import Checkpoint

SPEC = {"model_cfg": {"embed_dim": 4}, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}, "classes": ["cat", "dog"], "ancestry": "root"}
SHAPES = {"visual.conv1.weight": (9, 8), "visual.transformer.resblocks.0.w": (40, 30), "visual.transformer.resblocks.1.w": (5,)}
SHAPES["head.weight"] = (2, 7)


def tensors(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {key: random.normal(size=shape).astype(np.float32) for key, shape in SHAPES.items()}


def model(seed: int, spec: Any = SPEC, **more: Any) -> Checkpoint:
    return Checkpoint.of({**tensors(seed), "ids": np.arange(5), **more}, spec)


def flat(seed: int, keys: Any = SHAPES) -> np.ndarray:
    return np.concatenate([tensors(seed)[key].astype(np.float64).ravel() for key in keys])


def test_lengths_and_angles_are_those_of_the_flattened_weights() -> None:
    found = difference(model(0), model(1), model(2))
    assert [one.name for one in found.layers] == ["visual embeddings", "visual.transformer.resblocks.0", "visual.transformer.resblocks.1", "head"]
    for apart, keys in ((found.whole, SHAPES), *((one, [one.name]) for one in found.tensors)):
        a, b, base = (flat(i, keys) for i in range(3))
        expected = [np.linalg.norm(a), np.linalg.norm(b), np.linalg.norm(a - b), a @ b / np.linalg.norm(a) / np.linalg.norm(b)]
        np.testing.assert_allclose([*apart.norms, apart.distance, apart.cosine], expected, rtol=1e-12)
        first, second = a - base, b - base
        lengths = np.linalg.norm(first), np.linalg.norm(second)
        np.testing.assert_allclose([*apart.moved, apart.along], [*lengths, first @ second / np.prod(lengths)], rtol=1e-12)  # type: ignore[misc]
    np.testing.assert_allclose(np.sqrt(sum(one.distance**2 for one in found.layers)), found.whole.distance)


def test_a_model_is_at_distance_0_from_itself() -> None:
    found = difference(model(0), model(0), model(0))
    assert (found.whole.distance, found.whole.relative, found.whole.cosine, found.whole.moved, found.whole.along) == (0, 0, 1, (0, 0), None)
    assert not any([*found.missing, found.shapes, found.dtypes, found.buffers, found.not_finite, found.specification])


def test_a_step_of_the_last_bit_is_seen() -> None:
    """From the lengths and the angle alone it would drown in their rounding."""
    moved = tensors(0)
    key = "visual.transformer.resblocks.0.w"
    moved[key][3, 4] = np.nextafter(moved[key][3, 4], np.float32(9))
    step = float(moved[key][3, 4]) - float(tensors(0)[key][3, 4])
    assert difference(model(0), Checkpoint.of(moved, SPEC)).whole.distance == step > 0


def test_what_does_not_correspond_is_named() -> None:
    other = tensors(1)
    other["visual.conv1.weight"] = other["visual.conv1.weight"].astype(np.float16)
    other["head.weight"] = np.zeros((3, 7), np.float32)
    other["visual.transformer.resblocks.1.w"][2] = np.inf
    other |= {"ids": np.arange(5) + 1, "bn.running_mean": np.ones(2, np.float32), "new": np.zeros(2, np.float32)}
    spec = {**SPEC, "classes": ["cat", "cow"], "preprocess_cfg": {"mean": [0.4, 0.5, 0.5]}, "model_cfg": {"embed_dim": 4, "quick_gelu": False}}
    a = model(0, **{"bn.running_mean": np.zeros(2, np.float32), "old": np.zeros(3, np.float32)})
    found = difference(a, Checkpoint.of(other, spec), model(2))
    assert found.missing == (("new",), ("old",))
    assert found.shapes == {"head.weight": ((2, 7), (3, 7))}
    assert found.dtypes == {"visual.conv1.weight": ("F32", "F16")}
    assert found.buffers == ("bn.running_mean", "ids")
    assert found.not_finite == ("visual.transformer.resblocks.1.w",)
    assert [one.name for one in found.tensors] == ["visual.conv1.weight", "visual.transformer.resblocks.0.w"]
    assert found.specification == {"preprocess_cfg.mean": ("0.5, 0.5, 0.5", "0.4, 0.5, 0.5"), "classes": ("cat, dog", "cat, cow")}


def test_models_of_nothing_in_common() -> None:
    found = difference(model(0), Checkpoint.of({"x": np.ones(3, np.float32)}, {"kind": "timm", "model_cfg": {}}), model(1))
    assert (found.whole.tensors, found.whole.distance, found.layers) == (0, 0, ())
    assert found.specification["kind"] == ("open_clip", "timm")


@pytest.mark.parametrize(("swap", "who"), [(False, "a"), (True, "b")])
def test_the_ancestor_is_found_among_them(swap: bool, who: str) -> None:
    parent = model(0, {key: value for key, value in SPEC.items() if key != "ancestry"})
    child = model(1, {**SPEC, "ancestry": parent.spec["ancestry"]})
    assert difference(*((child, parent) if swap else (parent, child))).ancestor == who
    assert difference(model(0), model(1)).ancestor == ""
