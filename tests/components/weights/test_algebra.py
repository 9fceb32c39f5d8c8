"""Laws of the vector space: which results are bit-exact, and what a coefficient of 0 or 1 means."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.merge.wise_ft import wise_ft
from components.weights import Checkpoint, Combination, NotFinite, Policy, Vector, mean
from components.weights.layout import BFLOAT16, narrow, widen

SPEC = {"kind": "open_clip", "model_cfg": {"embed_dim": 4}, "preprocess_cfg": {"size": 8}, "classes": ["cat", "dog"], "ancestry": "root"}
SHAPES = {"visual.proj": (31, 7), "visual.ln.weight": (5,), "text.proj": (9, 3), "logit_scale": (), "head.weight": (2, 7), "head.b": (2,)}


def model(seed: int, dtype: object = np.float32, **spec: object) -> Checkpoint:
    """A small model of random weights; its integers are the same for every seed."""
    random = np.random.default_rng(seed)
    tensors = {key: random.normal(size=shape).astype(np.float32) * 10.0 ** random.integers(-4, 4) for key, shape in SHAPES.items()}
    stored = {key: narrow(array.astype(np.float64).reshape(-1), "BF16").reshape(array.shape) if dtype == "bf16" else array.astype(dtype)
              for key, array in tensors.items()}
    return Checkpoint.of({**stored, "text.positions": np.arange(77), "text.mask": np.array([True, False])}, {**SPEC, **spec})


def values(vector: Vector) -> dict[str, np.ndarray]:
    return dict(vector.tensors())


def same(a: Vector, b: Vector) -> None:
    """Equal keys, dtypes, shapes and bits (-0.0 is not 0.0, and a NaN equals itself)."""
    left, right = values(a), values(b)
    assert list(left) == list(right)
    for key, array in left.items():
        assert (array.dtype, array.shape, array.tobytes()) == (right[key].dtype, right[key].shape, right[key].tobytes()), key


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, "bf16"])
@pytest.mark.parametrize("n", [2, 3, 5, 7, 8, 72])
def test_the_mean_of_equal_files_is_that_file(tmp_path: Path, dtype: object, n: int) -> None:
    one = model(0, dtype)
    one.save(f"{tmp_path}/recorded")
    twin = Checkpoint(f"{tmp_path}/recorded")
    same(mean([one] * n), one)
    same(mean([one, twin] * n), one)
    same(mean([one.with_spec(name=str(i)) for i in range(n)]), one)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, "bf16"])
def test_the_sum_of_equal_values_divides_back_without_folding(dtype: object) -> None:
    """Digests differ by one key, so that the arithmetic itself must be exact on all the others."""
    models = []
    for i in range(13):
        tensors = values(model(0, dtype))
        tensors["logit_scale"] = values(model(i, dtype))["logit_scale"]
        models.append(Checkpoint.of(tensors, SPEC))
    found, expected = values(mean(models)), values(models[0])
    for key in expected.keys() - {"logit_scale"}:
        assert found[key].tobytes() == expected[key].tobytes(), key


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_order_of_ingredients_cannot_show(tmp_path: Path, dtype: object) -> None:
    """In float64 the sum itself depends on the order, so this one order is that of the digests."""
    models = [model(seed, dtype) for seed in range(4)]
    files = set()
    for i, order in enumerate(permutations(models)):
        files.add(tuple((file.name, file.digest) for file in mean(order).save(f"{tmp_path}/{i}")))
    assert len(files) == 1


def test_files_without_a_record_are_ordered_by_a_sample_of_their_bytes(tmp_path: Path) -> None:
    models = []
    for seed in range(4):
        model(seed, np.float64).save(f"{tmp_path}/{seed}")
        path = tmp_path / str(seed) / "open_clip_config.json"
        config = json.loads(path.read_text())
        config["stockpot"] = {"ancestry": "root"}
        path.write_text(json.dumps(config))
        models.append(Checkpoint(f"{tmp_path}/{seed}"))
    assert len({mean(order).save(f"{tmp_path}/soup")[0].digest for order in permutations(models)}) == 1


@given(st.lists(st.integers(-40, 40), min_size=2, max_size=5))
def test_a_combination_is_the_exact_sum_rounded_once(numbers: list[int]) -> None:
    """The reference is rational arithmetic."""
    models = [model(seed) for seed in range(len(numbers))]
    total: Vector = sum((number / 10 * one for number, one in zip(numbers, models, strict=True)), 0 * models[0])
    if not any(numbers):
        with pytest.raises(ValueError, match="nothing remains"):
            values(total)
        return
    found = values(total)["visual.ln.weight"]
    columns = zip(*(values(one)["visual.ln.weight"] for one in models), strict=True)
    exact = [sum(Fraction(number, 10) * Fraction(float(x)) for number, x in zip(numbers, column, strict=True)) for column in columns]
    assert np.array_equal(found, np.array([float(x) for x in exact]).astype(np.float32))


@pytest.mark.parametrize("alpha", [0, 0.0, 1, 1.0])
def test_endpoints_are_copies_and_the_unused_end_is_not_read(alpha: float) -> None:
    good, bad = values(model(0)), values(model(1))
    good["visual.proj"][:, 0] = -0.0
    good["visual.proj"][:, 1] = np.float32(1e-42)
    bad["visual.proj"][3] = np.nan
    bad["text.proj"][0] = np.inf
    used, unused = Checkpoint.of(good, SPEC), Checkpoint.of(bad, SPEC)
    line = wise_ft(used, unused, alpha) if alpha == 0 else wise_ft(unused, used, alpha)
    same(line, used)


@given(a=st.integers(0, 20), b=st.integers(0, 20))
@settings(max_examples=25)
def test_the_line_between_two_models_is_affine(a: int, b: int) -> None:
    """In float64: theta_a + theta_(1-a) = theta_0 + theta_1, and walking b of the way from theta_a to theta_1 is a + b - ab."""
    zero, one = model(0, np.float64), model(1, np.float64)
    alpha, beta = a / 20, b / 20
    pair = values(wise_ft(zero, one, alpha) + wise_ft(zero, one, (20 - a) / 20))
    ends = values(zero + one)
    twice = values(wise_ft(wise_ft(zero, one, alpha), one, beta))
    once = values(zero + (Fraction(a, 20) + Fraction(b, 20) - Fraction(a * b, 400)) * (one - zero))
    for key in SHAPES:
        np.testing.assert_array_equal(pair[key], ends[key])
        np.testing.assert_array_equal(twice[key], once[key])


def test_a_nested_soup_keeps_exact_weights_until_it_is_saved(tmp_path: Path) -> None:
    a, b, c = (model(seed) for seed in range(3))
    same(mean([mean([a, b]), c, c]), (a + b) / 6 + c * Fraction(2, 3))
    mean([a, b]).save(f"{tmp_path}/soup")
    nested = mean([Checkpoint(f"{tmp_path}/soup"), c, c])
    weights = {leaf["digest"]: leaf["weight"] for leaf in nested.spec["lineage"]["leaves"]}
    assert weights == {a.digest: "1/6", b.digest: "1/6", c.digest: "2/3"}
    nested.save(f"{tmp_path}/nested")
    assert Checkpoint(f"{tmp_path}/nested").spec["lineage"] == nested.spec["lineage"]


def test_coefficients_by_key_use_the_first_pattern_that_matches() -> None:
    zero, one = model(0, np.float64), model(1, np.float64)
    line = values(zero + (one - zero) * {"visual.ln.*": 0, "visual.*": 0.25, "text.*": 1})
    start, end = values(zero), values(one)
    for key, share in {"visual.ln.weight": 0, "visual.proj": 0.25, "text.proj": 1, "head.weight": 0, "logit_scale": 0}.items():
        np.testing.assert_array_equal(line[key], (1 - share) * start[key] + share * end[key])


def test_only_and_with_head_choose_keys(tmp_path: Path) -> None:
    a, b = model(0), model(1, classes=["owl", "emu"], ancestry="another")
    assert list(values(a.only(["visual.ln.*", "logit*"]))) == ["logit_scale", "visual.ln.weight"]
    both = a.with_head(b)
    found = values(both)
    for key in SHAPES:
        assert found[key].tobytes() == values(b if key.startswith("head.") else a)[key].tobytes()
    assert (both.spec["classes"], both.spec["ancestry"]) == (["owl", "emu"], "root")
    both.save(f"{tmp_path}/both")
    stored = Checkpoint(f"{tmp_path}/both")
    same(stored, both)
    assert (stored.spec["classes"], stored.spec["ancestry"]) == (["owl", "emu"], "root")
    assert stored.parts["model"].digest == a.parts["model"].digest


@pytest.mark.parametrize("n", [2, 10, 14, 72, 100])
def test_integers_survive_any_number_of_ingredients(n: int) -> None:
    found = values(mean([model(seed) for seed in range(n)]))
    assert found["text.positions"].dtype == np.int64
    assert np.array_equal(found["text.positions"], np.arange(77))
    assert np.array_equal(found["text.mask"], [True, False])


def test_coefficients_beyond_exact_integers_fall_back_to_float64() -> None:
    a, b = model(0, np.float64), model(1, np.float64)
    wild = Fraction(1, 3**40)
    found = values(a + wild * b)["visual.proj"]
    np.testing.assert_allclose(found, values(a)["visual.proj"] + float(wild) * values(b)["visual.proj"], rtol=1e-15)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), True, "0.5", None, {"*": "x"}])
def test_a_coefficient_is_a_finite_number(weight: object) -> None:
    with pytest.raises(ValueError, match="coefficient"):
        model(0) * weight


def test_weights_that_sum_to_anything_are_taken_as_they_are() -> None:
    a, b = model(0, np.float64), model(1, np.float64)
    for left, right in ((1, -1), (-1, -1), (2, 3)):
        expected = left * values(a)["text.proj"] + right * values(b)["text.proj"]
        np.testing.assert_array_equal(values(left * a + right * b)["text.proj"], expected)


def test_a_combination_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="mean of no checkpoints"):
        mean([])
    with pytest.raises(ValueError, match="nothing remains"):
        values(0 * model(0))
    same(mean([model(0)]), model(0))


def test_an_ingredient_with_coefficient_0_must_still_be_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint at"):
        values(model(0) + 0.0 * Checkpoint(f"{tmp_path}/missing"))


def test_a_value_that_is_not_finite_names_its_file_and_key(tmp_path: Path) -> None:
    broken = values(model(1))
    broken["text.proj"][4, 1] = np.inf
    Checkpoint.of(broken, SPEC).save(f"{tmp_path}/broken")
    model(0).save(f"{tmp_path}/good")
    soup = mean([Checkpoint(f"{tmp_path}/good"), Checkpoint(f"{tmp_path}/broken")])
    with pytest.raises(NotFinite, match=r"broken/open_clip_model.safetensors has the value inf in text.proj") as caught:
        soup.save(f"{tmp_path}/soup")
    assert caught.value.exit_code == 5
    assert not list((tmp_path / "soup").glob("*")), "a half-written file was left"
    with pytest.raises(NotFinite, match=r"in text\.proj"):
        values(mean([Checkpoint(f"{tmp_path}/broken")]))


def test_values_that_the_dtype_cannot_hold_are_refused() -> None:
    big = {"w": np.array([60000.0, 1.0], np.float16)}
    total = Checkpoint.of(big, SPEC) + Checkpoint.of({"w": np.array([60000.0, 2.0], np.float16)}, SPEC)
    with pytest.raises(ValueError, match=r"w becomes 1.2e\+05, which float16 cannot hold"):
        values(total)
    assert values(total.under(Policy(dtype="float32")))["w"].tolist() == [120000.0, 3.0]


def test_mixed_dtypes_give_float32_with_one_warning_unless_asked() -> None:
    models = [model(0, np.float16), model(1, "bf16"), model(2, np.float32)]
    with pytest.warns(UserWarning, match="mixed dtypes") as told:
        found = values(mean(models))
    assert len(told) == 1
    wide = [{key: widen(array) for key, array in values(one).items()} for one in models]
    for key in SHAPES:
        exact = sum(one[key].astype(np.float64) for one in wide) / 3
        np.testing.assert_array_equal(found[key], exact.astype(np.float32))
    assert {values(mean(models, Policy(dtype="bfloat16")))[key].dtype for key in SHAPES} == {BFLOAT16}


@given(st.floats(allow_nan=False, width=64))
@example(1 + 2**-8)  # a tie, to the even neighbour below
@example(1 + 3 * 2**-8)  # a tie, to the even neighbour above
@example(1 + 2**-8 + 2**-40)  # becomes a tie on the way through float32
@example(-1 - 2**-8 - 2**-52)
def test_bfloat16_rounds_once_to_nearest_even(value: float) -> None:
    """The reference compares the two neighbours exactly."""
    found = widen(narrow(np.array([value]), "BF16"))[0]
    if abs(value) < 2.0**-125 or not np.isfinite(value):
        return  # subnormal in bfloat16, or infinite
    below = (np.array([value], "<f8").view("<u8") >> np.uint64(45) << np.uint64(45)).view("<f8")[0].item()
    above = below + math.copysign(math.ldexp(1, math.frexp(below)[1] - 8), value)
    if abs(above) > 3.39e38:
        return
    gap = abs(Fraction(value) - Fraction(below)) - abs(Fraction(above) - Fraction(value))
    even = (np.array([below]).view("<u8")[0] >> np.uint64(45)) % 2 == 0
    assert found == (below if gap < 0 or (gap == 0 and even) else above)


def test_nothing_is_read_before_the_result_is_used(tmp_path: Path) -> None:
    ghosts = [Checkpoint(f"{tmp_path}/{i}") for i in range(1000)]
    soup = mean(ghosts) + 0.5 * (ghosts[0] - ghosts[1])
    assert isinstance(soup, Combination)
    assert len(soup.terms) == 1000


def test_policies_of_two_combinations_must_not_contradict() -> None:
    a, b = model(0), model(1)
    assert (a.under(Policy(dtype="float16")) + b).policy.dtype == "float16"
    with pytest.raises(ValueError, match="two policies"):
        a.under(Policy(dtype="float16")) + b.under(Policy(dtype="float32"))
