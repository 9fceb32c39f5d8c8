"""Laws of soups and of WiSE-FT, and that the linear methods are one: bit for bit, against definitions of a few lines.

Wortsman et al. 2022, arXiv:2203.05482; Wortsman et al. 2021, arXiv:2109.01903; Ilharco et al. 2022, arXiv:2208.05592; Rame et al. 2023,
arXiv:2212.10445.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data.digits import Digits
from components.data.split import Sample
from components.evaluate import predict
from components.merge import ensemble, learned, lines, uniform, wise_ft
from components.models import build
from components.types import Local
from components.weights import Checkpoint, Policy, Vector, engine
from components.weights.layout import narrow

SPEC = {"kind": "open_clip", "model_cfg": {"embed_dim": 4}, "preprocess_cfg": {}, "classes": ["cat", "dog"], "ancestry": "root"}
SHAPES = {"visual.proj": (31, 7), "visual.ln.weight": (5,), "text.proj": (9, 3), "logit_scale": (), "head.weight": (2, 7)}
FILES = ("open_clip_model.safetensors", "head.safetensors")


def tensors(seed: int, code: str = "F32", tuned: str = "") -> dict[str, np.ndarray]:
    """Random weights and integers that are alike for every seed. tuned: the names that the seed moves begin so, the others are seed 0's."""
    named = {}
    for i, (key, shape) in enumerate(SHAPES.items()):
        random = np.random.default_rng([seed if key.startswith(tuned) else 0, i])
        named[key] = narrow(random.normal(size=shape).reshape(-1), code).reshape(shape)
    return {**named, "text.positions": np.arange(77), "text.mask": np.array([True, False])}


def saved(folder: Path, named: dict[str, np.ndarray]) -> Checkpoint:
    Checkpoint.of(named, SPEC).save(str(folder))
    return Checkpoint(str(folder))


def same(*vectors: Vector) -> None:
    """Equal keys, dtypes, shapes and bits (-0.0 is not 0.0, and a NaN equals itself)."""
    first, *others = ({key: (array.dtype, array.shape, array.tobytes()) for key, array in one.tensors()} for one in vectors)
    for other in others:
        assert list(first) == list(other)
        assert [key for key in first if first[key] != other[key]] == []


def content(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


@pytest.mark.parametrize("code", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("k", [2, 3, 5, 7, 8, 72])
def test_the_soup_of_copies_is_the_model(tmp_path: Path, code: str, k: int) -> None:
    """Files without recorded digests do not fold, so that the sum itself is exact."""
    one = saved(tmp_path / "0", tensors(0, code))
    config = json.loads((tmp_path / "0" / "open_clip_config.json").read_text())
    config["stockpot"] = {"ancestry": "root", "classes": ["cat", "dog"]}
    (tmp_path / "0" / "open_clip_config.json").write_text(json.dumps(config))
    for i in range(1, k):
        (tmp_path / str(i)).symlink_to(tmp_path / "0")
    soup = uniform([Checkpoint(f"{tmp_path}/{i}") for i in range(k)])
    assert len(soup.assembly.plans["model"].used) == k
    same(soup, one)


@pytest.mark.parametrize("used", [0, 1, 2])
def test_all_weight_on_one_ingredient_is_a_copy_of_its_file(tmp_path: Path, used: int) -> None:
    """Its -0.0 and subnormals too, and no NaN leaks out of the others."""
    models = []
    for i in range(3):
        named = tensors(i)
        named["visual.proj"][0, :4] = [-0.0, 0.0, 1e-42, -1e-45] if i == used else [np.nan, np.inf, -np.inf, 1.0]
        models.append(saved(tmp_path / str(i), named))
    other = models[used - 1]
    chosen = sum((int(i == used) * one for i, one in enumerate(models)), 0 * other)
    for name, one in {"e": chosen, "end": wise_ft(other, models[used], 1.0), "start": wise_ft(models[used], other, 0.0)}.items():
        one.save(f"{tmp_path}/{name}")
        assert content(tmp_path / name) == content(tmp_path / str(used))


def test_integers_survive_any_number_of_ingredients() -> None:
    """As a float32 mean, which this would not be without the rule, they do not."""
    ids = np.arange(77)
    models = [Checkpoint.of({"w": np.float32([i]), "text.positions": ids}, SPEC) for i in range(100)]
    spoilt = []
    for n in range(2, 101):
        found = dict(uniform(models[:n]).tensors())["text.positions"]
        assert found.dtype == np.int64 and np.array_equal(found, ids), n
        share = np.float32(1 / n)
        if not np.array_equal(np.add.accumulate(np.stack([ids.astype(np.float32) * share] * n))[-1].astype(np.int64), ids):
            spoilt.append(n)
    assert min(spoilt) > 5 and {10, 14, 72} <= set(spoilt)


def tuned(zero: Any, seed: int, where: tuple[str, ...] = ("visual.", "head.")) -> Checkpoint:
    """The tiny model with noise in the tensors whose names begin so."""
    random = np.random.default_rng(seed)
    moved = {
        key: array + 0.1 * random.normal(size=array.shape).astype(np.float32) if key.startswith(where) and array.dtype == np.float32 else array
        for key, array in zero.tensors()
    }
    return Checkpoint.of(moved, zero.spec, zero.extras)


def test_streamed_stored_and_built_it_is_the_mean_in_memory(zero: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [tuned(zero, seed) for seed in range(5)]
    whole = [dict(one.tensors()) for one in models]
    expected = {
        key: (sum(one[key].astype(np.float64) for one in whole) / 5).astype(np.float32) if array.dtype == np.float32 else array
        for key, array in whole[0].items()
    }
    for i, one in enumerate(models):
        one.save(f"{tmp_path}/{i}")
    monkeypatch.setattr(engine, "SLAB", 1000)
    monkeypatch.setattr(engine, "cores", lambda: 3)
    soup = uniform([Checkpoint(f"{tmp_path}/{i}") for i in range(5)])
    soup.save(f"{tmp_path}/soup")
    same(soup, Checkpoint(f"{tmp_path}/soup"), Checkpoint.of(expected, zero.spec))
    slots = build(soup).slots()
    assert all(np.array_equal(slots[key].detach().numpy(), expected[key]) for key in slots) and {"visual.proj", "head.weight"} <= set(slots)


def test_sums_of_parts_make_the_soup_of_the_whole(tmp_path: Path) -> None:
    """Folded, and from sums that were stored in float64, which holds the sum of a few float32 values exactly."""
    models = [saved(tmp_path / str(i), tensors(i)) for i in range(7)]
    same(uniform(models), (3 * uniform(models[:3]) + 4 * uniform(models[3:])) / 7)
    for name, part in (("few", models[:3]), ("rest", models[3:])):
        (len(part) * uniform(part, Policy(dtype="float64"))).save(f"{tmp_path}/{name}")
    parts = Checkpoint(f"{tmp_path}/few") + Checkpoint(f"{tmp_path}/rest")
    same(uniform(models), (parts / 7).under(Policy(dtype="float32")))
    leaves = (parts / 7).spec["lineage"]["leaves"]
    assert {leaf["digest"]: leaf["weight"] for leaf in leaves} == {one.digest: "1/7" for one in models}


def test_linear_classifiers_mix_like_their_logits(zero: Any, run: Local) -> None:
    """On one frozen tower: the soup is the logit ensemble, and a point of WiSE-FT's line is that point between the logits."""
    models = [zero, *(tuned(zero, seed, ("head.",)) for seed in (1, 2))]
    data = Sample(Digits(), 40)
    answers = [predict(one, data, run=run) for one in models]
    assert np.abs(answers[0].logits - answers[1].logits).max() > 0.1
    np.testing.assert_allclose(predict(uniform(models), data, run=run).logits, ensemble(answers).logits, atol=1e-4)
    for alpha in (0.3, 0.75):
        expected = (1 - alpha) * answers[0].logits + alpha * answers[1].logits
        np.testing.assert_allclose(predict(wise_ft(zero, models[1], alpha), data, run=run).logits, expected, atol=1e-4)


def test_every_tenth_of_the_line_is_its_definition() -> None:
    """In float64, with integers over their common denominator; the head is on the line, and its rows are not normalised again."""
    start, end = tensors(0, "F64"), tensors(1, "F64")
    zero_shot, tuned = (Checkpoint.of(named, SPEC) for named in (start, end))
    for i in range(1, 10):
        share, found = Fraction(i, 10), dict(wise_ft(zero_shot, tuned, round(i / 10, 3)).tensors())
        above, below = share.numerator, share.denominator
        for key in SHAPES:
            np.testing.assert_array_equal(found[key], ((below - above) * start[key] + above * end[key]) / below, err_msg=key)


@pytest.mark.parametrize("code", ["F64", "F32"])
@pytest.mark.parametrize("m", [1, 2, 3, 4, 7])
def test_the_uniform_soup_is_task_addition_is_a_parallel_patch(code: str, m: int) -> None:
    """base + sum(tau) / M, and base + sum(a_t tau_t) over the tower alone at a_t = 1/M, where all else is frozen."""
    base = Checkpoint.of(tensors(0, code, "visual."), SPEC)
    models = [Checkpoint.of(tensors(i + 1, code, "visual."), SPEC) for i in range(m)]
    patched: Vector = base
    for one in models:
        patched += Fraction(1, m) * (one - base).only("visual.*")
    soup = uniform(models)
    same(soup, base + sum(one - base for one in models) / m)
    same(soup.only("visual.*"), patched.only("visual.*"))
    if code == "F32":  # what is frozen is (1 - a) x + a x: x again, once it is rounded
        same(soup, patched)
    if m in (1, 2, 4):
        same(soup, lines(base, models, 1 / m, 0))


@pytest.mark.parametrize("code", ["F64", "F32"])
@pytest.mark.parametrize("alpha", [0, 0.1, 0.25, 0.3, 0.7, 1])
def test_wise_ft_is_a_task_vector_is_paint(code: str, alpha: float) -> None:
    """WiSE-FT(a) is one task at scale a, and on the tower it is PAINT(a), which leaves head and text as the zero-shot model has them."""
    base, one = Checkpoint.of(tensors(0, code), SPEC), Checkpoint.of(tensors(1, code), SPEC)
    line = wise_ft(base, one, alpha)
    same(line, base + alpha * (one - base), (1 - Fraction(repr(alpha))) * base + alpha * one)
    paint = base + alpha * (one - base).only("visual.*")
    same(paint.only("visual.*"), line.only("visual.*"))
    rest = ["text.*", "head.*", "logit_scale"]
    same(paint.only(rest), base.only(rest))


def test_patching_one_task_after_the_other_at_full_scale_is_the_last_model(tmp_path: Path) -> None:
    base, first, second = (saved(tmp_path / str(i), tensors(i)) for i in range(3))
    patched = base + 1 * (first - base)
    (patched + 1 * (second - patched)).save(f"{tmp_path}/out")
    assert content(tmp_path / "out") == content(tmp_path / "2")


@pytest.mark.parametrize("by", ["model", "layer"])
@pytest.mark.parametrize("dtype", ["float64", None])
def test_a_learned_soup_begins_as_the_uniform_one(zero: Any, run: Local, by: Any, dtype: Any) -> None:
    models, policy = [tuned(zero, seed) for seed in range(3)], Policy(dtype=dtype)
    same(learned(models, Sample(Digits(), 20), by, 0, policy=policy, run=run), uniform(models, policy))


@pytest.mark.parametrize("code", ["F64", "F32"])
def test_recycling_nothing_is_the_soup(code: str) -> None:
    """Fusing starts a run from sum(lambda_i phi_i), lambda = kappa / sum(kappa), kappa = exp(r u), the pre-trained model among the phi: without
    auxiliary models it is that model, and at r = 0 the uniform mean. Runs from auxiliary models share their ancestor, so they average."""
    phi = [Checkpoint.of(tensors(i, code), SPEC) for i in range(4)]

    def fused(members: list[Checkpoint], r: float) -> Vector:
        kappa = [Fraction(float(np.exp(r * u))) for u in np.random.default_rng(0).uniform(size=len(members))]
        return sum((k / sum(kappa) * one for k, one in zip(kappa, members, strict=True)), 0 * members[0])

    same(fused(phi[:1], 4.0), phi[0])
    same(fused(phi, 0.0), uniform(phi))
    runs = [fused(phi[:1], 4.0) + one - phi[0] for one in phi[1:]]
    same(sum(runs[1:], runs[0]) / 3, uniform(phi[1:]))
