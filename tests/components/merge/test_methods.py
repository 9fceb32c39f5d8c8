"""What every rule does, linear or not: copies give the model, a base that nobody left is given back, and how it is computed cannot show."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.merge import dare, fisher_merge, lines, model_stock, regmean, slerp, ties, uniform, wise_ft
from components.types import Local
from components.weights import Checkpoint, NotFinite, engine
from components.weights.statistics import Statistics
from tests.components.merge.test_laws import FILES, SHAPES, content, same, saved, tensors
from tests.components.weights.test_layouts import raw

Models = list[Checkpoint]
INPUTS = {"visual.proj": 31, "head.weight": 7}  # of a linear map, stored either way round


def fishers(models: Models) -> list[Statistics]:
    """Information that differs from model to model."""
    return [
        Statistics.of({key: np.random.default_rng(i).uniform(size=SHAPES[key]) for key in INPUTS}, {"is": "fisher", "model": one.digest})
        for i, one in enumerate(models)
    ]


def grams(models: Models) -> list[Statistics]:
    """Inputs that differ from model to model."""
    made = []
    for i, one in enumerate(models):
        x = {key: np.random.default_rng(i).normal(size=(50, size)) for key, size in INPUTS.items()}
        facts = {"is": "gram", "model": one.digest, "inputs_first": ["visual.proj"]}
        made.append(Statistics.of({key: rows.T @ rows for key, rows in x.items()}, facts))
    return made


Rule = Callable[[Checkpoint, Models, Local], Any]
MEANS: dict[str, Rule] = {  # of copies of one model they are that model
    "uniform": lambda base, models, run: uniform(models),
    "slerp": lambda base, models, run: slerp(models[:2], 0.3),
    "ties, nothing trimmed": lambda base, models, run: ties(base, models, k=100),
    "dare, nothing dropped": lambda base, models, run: dare(base, models, 0.0),
    "dare with ties, nothing dropped": lambda base, models, run: dare(base, models, 0.0, method="ties", k=100),
    "model_stock": lambda base, models, run: model_stock(base, models),
    "lines": lambda base, models, run: lines(base, models, 0.25, 0.0),
    "fisher": lambda base, models, run: fisher_merge(models, fishers(models), [0.5, 1.0, 2.0, 0.25]),
    "regmean": lambda base, models, run: regmean(models, grams(models), run=run),
}
RULES = MEANS | {
    "wise_ft": lambda base, models, run: wise_ft(base, models[0], 0.3),
    "ties": lambda base, models, run: ties(base, models, k=20, coefficient=0.7),
    "dare": lambda base, models, run: dare(base, models, 0.5),
    "dare with ties": lambda base, models, run: dare(base, models, 0.5, method="ties", k=30),
    "lines by depth": lambda base, models, run: lines(base, models, 0.1, 0.4),
}


def pool(folder: Path, seeds: list[int], moved: str = "") -> Models:
    return [saved(folder / str(i), tensors(seed, "F32", moved)) for i, seed in enumerate(seeds)]


@pytest.mark.parametrize("name", MEANS)
def test_copies_of_a_model_give_the_model(tmp_path: Path, run: Local, name: str) -> None:
    base, *models = pool(tmp_path, [0, 1, 1, 1, 1])
    same(MEANS[name](base, models, run), models[0])


@pytest.mark.parametrize("name", RULES)
def test_a_base_that_nobody_left_is_given_back_byte_for_byte(tmp_path: Path, run: Local, name: str) -> None:
    base, *models = pool(tmp_path, [0, 0, 0, 0, 0])
    RULES[name](base, models, run).save(f"{tmp_path}/out")
    assert content(tmp_path / "out") == content(tmp_path / "0")


@pytest.mark.parametrize("name", RULES)
def test_what_is_equal_in_all_stays_and_the_rest_does_not(tmp_path: Path, run: Local, name: str) -> None:
    """Integers, masks, a frozen text tower and a frozen head, in a model of the same keys, dtypes and shapes."""
    base, *models = pool(tmp_path, [0, 1, 2, 3, 4], "visual.")
    found, start = dict(RULES[name](base, models, run).tensors()), dict(base.tensors())
    assert {key: (array.dtype, array.shape) for key, array in found.items()} == {key: (array.dtype, array.shape) for key, array in start.items()}
    changed = {key for key, array in found.items() if array.tobytes() != start[key].tobytes()}
    assert changed == {key for key in SHAPES if key.startswith("visual.")}


@pytest.mark.parametrize("name", RULES)
def test_slabs_and_threads_cannot_show(tmp_path: Path, run: Local, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    base, *models = pool(tmp_path, [0, 1, 2, 3, 4])
    expected = {key: array.tobytes() for key, array in RULES[name](base, models, run).tensors()}
    for i, (slab, threads) in enumerate([(5, 1), (64, 3), (1 << 18, 4)]):
        monkeypatch.setattr(engine, "SLAB", slab)
        monkeypatch.setattr(engine, "cores", lambda threads=threads: threads)
        RULES[name](base, models, run).save(f"{tmp_path}/out{i}")
        assert {key: array.tobytes() for key, array in Checkpoint(f"{tmp_path}/out{i}").tensors()} == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [name for name in RULES if name != "wise_ft"])
def test_the_model_that_is_not_finite_is_named_wherever_the_value_lies(
    tmp_path: Path, run: Local, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    """In the last slab of its tensor, of which statistics have seen all; without a warning."""
    base, first, *others = pool(tmp_path, [0, 1, 2, 3])
    named = dict(first.tensors())
    named["visual.proj"].flat[-1] = value
    monkeypatch.setattr(engine, "SLAB", 16)
    with pytest.raises(NotFinite, match=f"has the value {value} in visual.proj"):
        RULES[name](base, [saved(tmp_path / "bad", named), *others, *others[:1]], run).save(f"{tmp_path}/out")


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("dare", "dare with ties")])  # which elements fall depends on the digest
def test_the_order_of_tensors_in_a_file_cannot_show(tmp_path: Path, run: Local, name: str) -> None:
    models = pool(tmp_path, [0, 1, 2, 3, 4])
    expected = {key: array.tobytes() for key, array in RULES[name](models[0], models[1:], run).tensors()}
    for i, one in enumerate(models):
        path = tmp_path / str(i)
        for file in FILES:
            named = {key: array for key, array in one.tensors() if key.startswith("head.") == (file == FILES[1])}
            order = np.random.default_rng(i).permutation(sorted(named)).tolist()
            (path / file).write_bytes(raw(named, order, order[::-1]))
        config = json.loads((path / "open_clip_config.json").read_text())
        del config["stockpot"]["files"]
        (path / "open_clip_config.json").write_text(json.dumps(config))
    again = [Checkpoint(f"{tmp_path}/{i}") for i in range(5)]
    assert {key: array.tobytes() for key, array in RULES[name](again[0], again[1:], run).tensors()} == expected
