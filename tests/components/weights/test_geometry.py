"""Inner products of stored checkpoints against numpy on whole arrays, however they are laid out, cut and read."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.types import DataError
from components.weights import Checkpoint, engine, geometry
from components.weights.layout import Entry, arrange, encode, narrow, render, widen

SPEC = {"model_cfg": {}, "ancestry": "root"}
SHAPES = {"visual.a": (700, 801), "visual.b": (7,), "c": (), "empty": (0, 3), "head.weight": (5, 40)}


def tensors(seed: int, dtype: str = "F32") -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    values = {key: random.normal(size=shape) for key, shape in SHAPES.items()}
    stored = {key: narrow(value.reshape(-1), dtype).reshape(value.shape) for key, value in values.items()}
    return {**stored, "ids": np.arange(9), "visual.bn.running_var": np.full(4, 100.0 + seed, np.float32)}


def flat(named: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    return widen(named[key]).astype(np.float64).ravel()


def test_products_are_those_of_whole_arrays_in_any_dtype() -> None:
    arrays = [tensors(i, dtype) for i, dtype in enumerate(["F32", "BF16", "F64", "F16"])]
    models = [Checkpoint.of(one, SPEC) for one in arrays]
    plain, moved = geometry.grams(models), geometry.grams(models, geometry.moves)
    assert plain.keys() == moved.keys() == SHAPES.keys() - {"empty"}  # neither integers nor BatchNorm statistics
    for key in plain:
        whole = np.stack([flat(one, key) for one in arrays])
        np.testing.assert_allclose(plain[key], whole @ whole.T, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(moved[key], (whole[1:] - whole[0]) @ (whole[1:] - whole[0]).T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(geometry.total(plain), sum(plain.values()))


@given(st.permutations(list(SHAPES)[:4]), st.sampled_from([1, 2, 5]))
def test_layouts_and_threads_do_not_show(tmp_path_factory: pytest.TempPathFactory, order: list[str], threads: int) -> None:
    arrays = [tensors(0), tensors(1)]
    expected = geometry.grams([Checkpoint.of(one, SPEC) for one in arrays])
    folder = tmp_path_factory.mktemp("shuffled")
    Checkpoint.of(arrays[0], SPEC).save(f"{folder}")
    other = shuffled({key: arrays[1][key] for key in SHAPES if not key.startswith("head.")}, order)
    (folder / "open_clip_model.safetensors").write_bytes(other)
    config = (folder / "open_clip_config.json").read_text()
    (folder / "open_clip_config.json").write_text(config.split('"stockpot"')[0].rstrip().rstrip(",") + "}")
    (folder / "head.safetensors").unlink()
    models = [Checkpoint.of(arrays[0], SPEC), Checkpoint(f"{folder}")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "cores", lambda: threads)
        found = geometry.grams(models)
    assert found.keys() == {*order} - {"empty"}
    assert all(np.array_equal(found[key], expected[key]) for key in found)


def shuffled(named: Mapping[str, np.ndarray], order: list[str]) -> bytes:
    """A safetensors file with the tensors in an order that is not ours."""
    layout, at = {}, 0
    for key in order:
        code, array = encode(named[key])
        layout[key] = Entry(code, array.shape, at, at + array.nbytes)
        at += array.nbytes
    return render(layout) + b"".join(np.ascontiguousarray(named[key]).tobytes() for key in order)


def test_cosines_are_0_without_length_and_never_beyond_1() -> None:
    vectors = np.array([[1.0, 1e-9], [3.0, 3e-9], [0.0, 0.0], [-1.0, -1e-9]])
    assert geometry.cosines(vectors @ vectors.T).tolist() == [[1, 1, 0, -1], [1, 1, 0, -1], [0, 0, 0, 0], [-1, -1, 0, 1]]


def test_what_is_not_finite_stays_in_its_tensor() -> None:
    bad = tensors(1)
    bad["visual.b"][3] = np.nan
    found = geometry.grams([Checkpoint.of(tensors(0), SPEC), Checkpoint.of(bad, SPEC)])
    assert np.isnan(found["visual.b"][0, 1]) and all(np.isfinite(found[key]).all() for key in found if key != "visual.b")


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """Sparse files: 96 MB of zeros each."""
    layout = arrange({"w": ("F32", (24, 1 << 20))})
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "open_clip_config.json").write_text('{"model_cfg": {}}')
        with open(tmp_path / name / "open_clip_model.safetensors", "wb") as file:
            file.write(render(layout))
            file.truncate(file.tell() + layout["w"].stop)
    models = [Checkpoint(f"{tmp_path}/{name}") for name in "ab"]
    tracemalloc.start()
    assert geometry.grams(models)["w"].tolist() == [[0, 0], [0, 0]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20
    with open(tmp_path / "b" / "open_clip_model.safetensors", "r+b") as file:
        file.truncate(1 << 20)  # after its header was read
    with pytest.raises(DataError, match=r"b/open_clip_model\.safetensors is truncated"):
        geometry.grams(models)
