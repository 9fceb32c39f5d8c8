"""LiNeS against its formula in numpy, and against task arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from components.merge.lines import lines
from components.weights import Checkpoint, Policy

SPEC = {"model_cfg": {}, "ancestry": "root"}
DEPTH = {  # (l - 1) / (L - 1): five blocks that see, two that read
    **{f"visual.transformer.resblocks.{i}.ln_1.weight": i / 4 for i in range(5)},
    "transformer.resblocks.0.ln_1.weight": 0, "transformer.resblocks.1.ln_1.weight": 1,
    "visual.conv1.weight": 0, "visual.proj": 1, "token_embedding.weight": 0, "text_projection": 1, "logit_scale": 1, "head.weight": 1,
}  # fmt: skip


def tensors(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {key: random.normal(size=(6, 5)).astype(np.float32) for key in DEPTH}


def model(seed: int) -> Checkpoint:
    return Checkpoint.of({**tensors(seed), "ids": np.arange(4)}, SPEC)


def test_each_block_keeps_its_part_of_the_moves() -> None:
    found = dict(lines(model(0), [model(1), model(2)], 0.2, 0.5, Policy(dtype="float64")).tensors())
    base, one, other = (tensors(i) for i in range(3))
    for key, depth in DEPTH.items():
        start = base[key].astype(np.float64)
        np.testing.assert_allclose(found[key], start + (0.2 + 0.5 * depth) * (one[key] - start + other[key] - start), rtol=1e-13, err_msg=key)
    assert found["ids"].tolist() == [0, 1, 2, 3]


def test_coefficients_are_exact_and_beta_0_is_task_arithmetic() -> None:
    base, models = model(0), [model(1), model(2)]
    merged = lines(base, models, 0.1, 0.2)
    weights = {one.key: weight for one, weight in merged.terms}
    assert weights[models[0].key].at("visual.transformer.resblocks.3.ln_1.weight") == Fraction(1, 4)
    assert weights[base.key].at("visual.transformer.resblocks.3.ln_1.weight") == Fraction(1, 2)
    plain, arithmetic = lines(base, models, 0.3, 0), base + 0.3 * (models[0] - base) + 0.3 * (models[1] - base)
    assert [(one.key, weight) for one, weight in plain.terms] == [(one.key, weight) for one, weight in arithmetic.terms]
    assert [(one.key, weight.to_json()) for one, weight in lines(base, models[:1], 1, 0).terms if weight.terms] == [(models[0].key, "1")]
    assert merged.facts == {"rule": "lines", "alpha": 0.1, "beta": 0.2, "models": 2}
    with pytest.raises(ValueError, match="give at least one"):
        lines(base, [], 0.1, 0.2)
