"""The engine against a definition of a few lines, whatever the layouts, dtypes, coefficients, slabs, threads and nodes."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.types import revision
from components.weights import Blend, Checkpoint, Policy, destination, engine, files, mean, threads
from components.weights.layout import BFLOAT16, narrow, widen
from components.weights.scan import Scan

SPEC = {"kind": "open_clip", "model_cfg": {}, "preprocess_cfg": {}, "ancestry": "a"}
FLOATS = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": BFLOAT16}


def stored(folder: Path, tensors: Mapping[str, np.ndarray], **spec: Any) -> Checkpoint:
    Checkpoint.of(tensors, {**SPEC, **spec}).save(str(folder))
    return Checkpoint(str(folder))


def defined(models: Sequence[Mapping[str, np.ndarray]], weights: Sequence[Fraction], code: str) -> dict[str, np.ndarray]:
    """The linear combination as one would write it: integers over a common denominator, float64, rounded once."""
    pairs = list(zip(models, weights, strict=True))
    below = int(np.lcm.reduce([weight.denominator for weight in weights]))
    return {
        key: narrow(sum(int(weight * below) * widen(model[key]).astype(np.float64) for model, weight in pairs) / below, code)
        for key in models[0]
    }


shapes = st.dictionaries(st.sampled_from(["a.weight", "b", "c.bias", "visual.d"]), st.lists(st.integers(0, 9), max_size=2).map(tuple), min_size=1)
coefficients = st.lists(st.sampled_from([1, -1, 2, 0.1, 0.3, Fraction(1, 3), Fraction(-5, 7)]), min_size=2, max_size=5)


@settings(max_examples=30)
@given(shapes, coefficients, st.sampled_from(sorted(FLOATS)), st.integers(1, 40), st.integers(1, 3), st.randoms(use_true_random=False))
def test_any_combination_is_its_definition_for_any_slab_and_threads(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict, weights: list, code: str, slab: int, cores: int, random: Any
) -> None:
    """Equal bytes, also through a module's arrays, and when the ingredients are given in another order."""
    rng = np.random.default_rng(random.getrandbits(32))
    raw = [{key: narrow(rng.standard_normal(shape) * 4, code) for key, shape in shapes.items()} for _ in weights]
    folder = tmp_path_factory.mktemp("models")
    models = [stored(folder / str(i), tensors, name=str(i)) for i, tensors in enumerate(raw)]
    order = sorted(range(len(models)), key=lambda i: models[i].parts["model"].digest)
    expected = defined([raw[i] for i in order], [Fraction(str(weights[i])) for i in order], code)
    terms = [model * weight for model, weight in zip(models, weights, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "SLAB", slab)
        patch.setattr(engine, "cores", lambda: cores)
        for k, vector in enumerate((sum(terms[1:], terms[0]), sum(terms[-2::-1], terms[-1]))):
            vector.save(str(folder / f"out{k}"))
            found = dict(Checkpoint(str(folder / f"out{k}")).tensors())
            assert all(found[key].tobytes() == value.tobytes() for key, value in expected.items()), weights
            targets = {key: np.empty(shape, np.float32) for key, shape in shapes.items()}
            vector.assembly.into(targets)
            assert all((targets[key] == widen(value).astype(np.float32)).all() for key, value in expected.items())


def large(tmp_path: Path, count: int = 3) -> list[Checkpoint]:
    """Checkpoints of two and a half chunks."""
    rng = np.random.default_rng(0)
    return [
        stored(tmp_path / str(i), {"a": rng.standard_normal((2500, 4100)).astype(np.float32), "b": rng.standard_normal(77).astype(np.float32)})
        for i in range(count)
    ]


def test_chunks_made_on_other_nodes_are_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every item crosses a pickle, and they end in any order."""
    models = large(tmp_path)
    alone = mean(models).save(str(tmp_path / "alone"))
    monkeypatch.setattr(engine, "ITEM", 1)
    seen = []

    def elsewhere(fn: Callable[..., Any], items: Sequence[Mapping[str, Any]]) -> list[Any]:
        seen.append(len(items))
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda item: pickle.loads(pickle.dumps(fn))(**pickle.loads(pickle.dumps(item))), items))

    assert mean(models).save(str(tmp_path / "spread"), elsewhere) == alone
    assert seen == [3]
    assert files.digest_of(str(tmp_path / "spread" / alone[0].name)) == alone[0].digest
    assert [path.name for path in (tmp_path / "spread").iterdir() if "partial" in path.name] == []


def test_nodes_leave_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What crossed a pickle is closed as well, by any number of threads of a node once."""
    models, opened = large(tmp_path), len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(engine, "ITEM", 1)
    mean(models).save(str(tmp_path / "spread"), lambda fn, items: [fn(**pickle.loads(pickle.dumps(item))) for item in items])
    assert len(os.listdir("/proc/self/fd")) == opened


def test_a_node_that_does_not_see_the_disk_says_so_and_makes_no_file_of_its_own(tmp_path: Path) -> None:
    """A second file would lack what the first one holds; likewise after the writing was given up."""
    target = destination.Local(str(tmp_path / "shared" / "out"))
    target.begin(9)
    elsewhere = pickle.loads(pickle.dumps(target))
    target.abandon()
    with pytest.raises(OSError, match="save to a folder that all nodes share"):
        elsewhere.put(0, b"some")
    assert list((tmp_path / "shared").iterdir()) == []


def test_progress_ends_at_the_size_of_the_tensors(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    mean(large(tmp_path)).save(str(tmp_path / "out"), progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (4 * (2500 * 4100 + 77), 4 * (2500 * 4100 + 77))


@pytest.mark.parametrize("fault", ["begin", "put", "commit"])
def test_a_fault_while_writing_leaves_nothing_to_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    models = large(tmp_path)
    before = threading.active_count()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(destination.Local, fault, full)
    with pytest.raises(OSError, match="No space left"):
        mean(models).save(str(tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []
    assert threading.active_count() == before


def test_an_ingredient_that_shrinks_while_it_is_read_is_a_data_error(tmp_path: Path) -> None:
    from components.types import DataError

    models = large(tmp_path)
    total = mean(models)
    assert total.assembly
    path = tmp_path / "1" / "open_clip_model.safetensors"
    with path.open("r+b") as file:
        file.truncate(20_000_000)
    with pytest.raises(DataError, match=r"1/open_clip_model\.safetensors is truncated: expected"):
        total.save(str(tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_more_ingredients_than_files_that_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = large(tmp_path)
    expected = mean(models).save(str(tmp_path / "some"))
    monkeypatch.setattr(engine, "KEPT", 2)
    assert mean(models).save(str(tmp_path / "brief")) == expected


@revision(1)
class Largest:
    """A toy method: the base, plus the largest absolute value of any ingredient, times the position."""

    def prepare(self, scan: Scan) -> tuple[float, int]:
        return max(scan(lambda key, low, values: max(float(np.abs(each).max()) for each in values))), scan.count

    def combine(self, values: Sequence[np.ndarray], key: str, low: int, prepared: tuple[float, int]) -> np.ndarray:
        return values[0] + sum(values[1:]) * prepared[0] + (low + np.arange(len(values[0])))

    def __repr__(self) -> str:
        return "Largest()"


def test_a_method_sees_every_value_once_and_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics over all tensors, then slabs with their key and offset, in any number of slabs; the order of the models cannot show."""
    base, one, two = large(tmp_path)
    blend = Blend(Largest(), base, (one, two), Policy(dtype="float64"))
    raw = {name: dict(model.tensors()) for name, model in (("base", base), ("one", one), ("two", two))}
    top = max(float(np.abs(value).max()) for tensors in raw.values() for value in tensors.values())
    expected = {
        key: value.astype(np.float64)
        + (raw["one"][key].astype(np.float64) + raw["two"][key].astype(np.float64)) * top
        + np.arange(value.size, dtype=np.float64).reshape(value.shape)
        for key, value in raw["base"].items()
    }
    for slab in (1 << 18, 1000):
        monkeypatch.setattr(engine, "SLAB", slab)
        found = dict(blend.tensors())
        assert all(np.allclose(found[key], value, rtol=0, atol=1e-9) for key, value in expected.items())
    first = blend.save(str(tmp_path / "x"))
    assert Blend(Largest(), base, (two, one), Policy(dtype="float64")).save(str(tmp_path / "y"))[0] == first[0]
    lineage = Checkpoint(str(tmp_path / "x")).spec["lineage"]
    assert lineage["method"] == "Largest()"
    assert len(lineage["operands"]) == 3
    assert mean([Checkpoint(str(tmp_path / "x"))]).spec["lineage"]["leaves"][0]["weight"] == "1"


def test_a_method_takes_checkpoints_only(tmp_path: Path) -> None:
    one = stored(tmp_path / "0", {"a": np.ones(9, np.float32)})
    for base, models in ((one, (one, 2 * one)), (2 * one, (one,))):
        with pytest.raises(ValueError, match=r"Combination\(2 .*\) is no checkpoint: save it first"):
            Blend(Largest(), base, models)


def test_what_crosses_to_another_process_is_what_was_said_not_what_was_read(tmp_path: Path) -> None:
    models = [stored(tmp_path / str(i), {"a": np.full(9, i, np.float32)}) for i in range(3)]
    for vector in (mean(models), Blend(Largest(), models[0], tuple(models[1:]))):
        before = pickle.dumps(vector)
        values = dict(vector.tensors())
        assert pickle.dumps(vector) == before
        assert dict(pickle.loads(before).tensors())["a"].tobytes() == values["a"].tobytes()


def test_threads_give_results_in_order_and_the_first_error() -> None:
    def make() -> Callable[[int], int]:
        def call(item: int) -> int:
            if item in (3, 5):
                raise ValueError(str(item))
            return item * item

        return call

    assert list(threads.ordered(make, range(3), 2)) == [0, 1, 4]
    with pytest.raises(ValueError, match="3"):
        list(threads.ordered(make, range(9), 3))
