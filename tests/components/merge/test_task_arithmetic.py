"""Laws of task vectors, tau = tuned - base, on saved files: Ilharco et al. 2023, arXiv:2212.04089."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.weights import Checkpoint, Policy, Vector
from tests.components.merge.test_laws import FILES, SHAPES, content, same, saved, tensors

FROZEN = ("text.", "head.", "logit_scale")


def values(vector: Vector) -> dict[str, np.ndarray]:
    return {key: array for key, array in vector.tensors() if key in SHAPES}


def tasks(folder: Path, code: str = "F32", count: int = 3) -> list[Checkpoint]:
    """A base and models whose image towers alone moved."""
    return [saved(folder / str(i), tensors(i, code, "visual.")) for i in range(count + 1)]


@pytest.mark.parametrize("code", ["F64", "F32", "F16", "BF16"])
def test_applied_to_its_base_a_task_vector_is_the_model(tmp_path: Path, code: str) -> None:
    base, tuned, *_ = tasks(tmp_path, code)
    (base + (tuned - base)).save(f"{tmp_path}/out")
    assert content(tmp_path / "out") == content(tmp_path / "1")
    tau = tuned - base
    tau.save(f"{tmp_path}/tau")
    (-Checkpoint(f"{tmp_path}/tau")).save(f"{tmp_path}/negated")
    same(tau, -(base - tuned), -1 * -tau, -Checkpoint(f"{tmp_path}/negated"))


@pytest.mark.filterwarnings("ignore:.*mixed dtypes")
@pytest.mark.parametrize("code", ["F64", "F32"])
def test_a_stored_task_vector_gives_the_model_back_to_the_last_bit(tmp_path: Path, code: str) -> None:
    """(b - a) + a is not b in floats: off by what rounding the longer of the two may cost. A float64 tau of float32 models loses nothing.

    A head whose file did not change has no part in it, and what was frozen within a file is 0.
    """
    base, tuned, *_ = tasks(tmp_path, code)
    own = {"F64": "float64", "F32": "float32"}[code]
    for dtype in ("float32", "float64")[code == "F64" :]:
        (tuned - base).under(Policy(dtype=dtype)).save(f"{tmp_path}/{dtype}")
        tau = Checkpoint(f"{tmp_path}/{dtype}")
        moved, expected = values(tau), values(tuned)
        assert expected.keys() - moved.keys() == {"head.weight"}
        assert {key for key, array in moved.items() if array.any()} == {key for key in SHAPES if not key.startswith(FROZEN)}
        found = values((base + tau.only("visual.*")).under(Policy(dtype=own)))
        assert found.keys() == expected.keys()
        for key, array in expected.items():
            if (own, dtype) == ("float32", "float64") or key not in moved:
                assert found[key].tobytes() == array.tobytes()
            else:
                most = np.maximum(np.abs(array), np.abs(moved[key]))
                assert (np.abs(found[key] - array) <= np.spacing(most)).all()


@settings(max_examples=20)
@given(st.permutations(range(3)), st.integers(0, 2), st.sampled_from([1, -0.5, 0.8, 0.3]))
def test_task_vectors_add_in_any_order_and_grouping(order: list[int], cut: int, scale: float) -> None:
    """Unread they fold, so the bits are equal in float64 too."""
    base, *models = (Checkpoint.of(tensors(i, "F64"), {"ancestry": "root"}) for i in range(4))
    tau = [scale * (one - base) for one in models]
    mixed = [tau[i] for i in order]
    left, right = sum(mixed[:cut], 0 * base), sum(mixed[cut:], 0 * base)
    same(base + tau[0] + tau[1] + tau[2], base + (left + right), left + (base + right))


def test_stored_sums_agree_as_far_as_floats_add_alike(tmp_path: Path) -> None:
    base, *models = tasks(tmp_path, "F64")
    for i, one in enumerate(models):
        (one - base).save(f"{tmp_path}/tau{i}")
    one, two, three = (Checkpoint(f"{tmp_path}/tau{i}") for i in range(3))
    same(one + two, two + one)
    (one + two).save(f"{tmp_path}/left")
    (two + three).save(f"{tmp_path}/right")
    left, right = values(Checkpoint(f"{tmp_path}/left") + three), values(one + Checkpoint(f"{tmp_path}/right"))
    for key in right:
        np.testing.assert_allclose(left[key], right[key], rtol=1e-14, atol=1e-14)


def test_scale_0_is_a_copy_of_the_base_whatever_the_task_holds(tmp_path: Path) -> None:
    base, one, two, _ = tasks(tmp_path)
    broken = saved(tmp_path / "broken", {**tensors(7), "visual.proj": np.full((31, 7), np.nan, np.float32)})
    for i, vector in enumerate((base + 0 * (broken - base), base + 0.0 * sum([one - base, two - base, broken - base]), base - 0 * broken)):
        vector.save(f"{tmp_path}/out{i}")
        assert content(tmp_path / f"out{i}") == content(tmp_path / "0")


def test_negation_and_addition_move_the_tower_as_numpy_says(tmp_path: Path) -> None:
    base, *models = tasks(tmp_path)
    start, moved = values(base), [{key: array.astype(np.float64) - values(base)[key] for key, array in values(one).items()} for one in models]
    gone, all_three = values(base - 0.5 * (models[0] - base)), values(base + 0.8 * sum(one - base for one in models))
    for key in ("visual.proj", "visual.ln.weight"):
        np.testing.assert_allclose(gone[key], start[key] - 0.5 * moved[0][key], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(all_three[key], start[key] + 0.8 * sum(one[key] for one in moved), rtol=1e-6, atol=1e-7)


@settings(max_examples=20)
@given(st.lists(st.decimals(-2, 2, places=4), min_size=1, max_size=3))
def test_what_the_tasks_did_not_train_keeps_its_bits_at_any_scale(tmp_path_factory: pytest.TempPathFactory, scales: list) -> None:
    """Head, text tower and integers, in a saved file: the weights sum to 1 and are not made to by force."""
    folder = tmp_path_factory.mktemp("tasks")
    base, *models = tasks(folder, count=len(scales))
    edited = base + sum((float(scale) * (one - base) for scale, one in zip(scales, models, strict=True)), 0 * base)
    edited.save(str(folder / "out"))
    found, start = dict(Checkpoint(str(folder / "out")).tensors()), dict(base.tensors())
    for key, array in start.items():
        if not key.startswith("visual."):
            assert (found[key].dtype, found[key].tobytes()) == (array.dtype, array.tobytes()), key
    head = FILES[1]
    assert (folder / "out" / head).read_bytes() == (folder / "0" / head).read_bytes()


def test_a_is_to_b_as_c_is_to_what(tmp_path: Path) -> None:
    """tau_D = tau_C + (tau_B - tau_A): c where nothing changed from a to b, read from two files of equal bytes too, and b where c is a."""
    base, a, b, c = tasks(tmp_path)
    analogy = base + (c - base) + ((b - base) - (a - base))
    same(analogy, c + b - a)
    wide = [{key: array.astype(np.float64) for key, array in values(one).items()} for one in (a, b, c)]
    for key, array in values(analogy).items():
        np.testing.assert_allclose(array, wide[2][key] + wide[1][key] - wide[0][key], rtol=1e-6, atol=1e-7)
    twin = saved(tmp_path / "twin", tensors(1, "F32", "visual."))
    for i, vector in enumerate((c + (a - a), c + (twin - a), base + (c - base) + ((twin - base) - (a - base)))):
        vector.save(f"{tmp_path}/same{i}")
        assert content(tmp_path / f"same{i}") == content(tmp_path / "3")
    (twin + (b - a)).save(f"{tmp_path}/b")
    assert content(tmp_path / "b") == content(tmp_path / "2")
