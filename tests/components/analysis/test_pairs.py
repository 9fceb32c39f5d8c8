"""Pairs of models of a real tiny tower on real pixels."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pytest

from components.analysis.cka import cka
from components.analysis.cosine import cosines
from components.analysis.pairs import grouped, pairs
from components.data.digits import CLASSES, Digits
from components.data.split import Split
from components.evaluate import predict
from components.models.heads import zero_shot
from components.models.openclip import OpenClip, pretrained
from components.predictors.features import Features
from components.types import Diverged, Local, Table, revision
from components.weights import Checkpoint, mean
from infra.dag import Plan, call

TEST = Split(Digits(), 0.9, 1.0)


@pytest.fixture(scope="module")
def able(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shipped model with a head for the digits: its answers are worth counting."""
    run = Local(str(tmp_path_factory.mktemp("able")))
    return zero_shot(pretrained(OpenClip(), run=run), CLASSES, ("the digit {}",), run=run)


def noisy(base: Any, seed: int, scale: float = 0.3) -> Checkpoint:
    random = np.random.default_rng(seed)
    tensors = {key: array + (scale * array.std() * random.normal(size=array.shape)).astype(array.dtype) for key, array in base.tensors()}
    return Checkpoint.of(tensors, base.spec, base.extras)


def test_a_pair_is_what_the_parts_say_one_by_one(able: Any, run: Local) -> None:
    models = {"a": noisy(able, 0), "b": noisy(able, 1), "c": noisy(able, 2)}
    table = pairs(models, able, TEST, run=run)
    assert [(row["first"], row["second"]) for row in table.rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    first, second = models["a"], models["c"]
    right = {name: predict(one, TEST, run=run).correct for name, one in (("a", first), ("c", second), ("both", mean([first, second])))}
    row = table.rows[1]
    assert row["accuracy"] == right["both"].mean() and row["n"] == len(right["a"])
    assert row["advantage"] == pytest.approx(right["both"].mean() - (right["a"].mean() + right["c"].mean()) / 2, abs=1e-12)
    assert row["advantage_low"] < row["advantage"] < row["advantage_high"]
    assert row["ratio_error"] == (right["a"] ^ right["c"]).sum() / (~right["a"] & ~right["c"]).sum()
    assert row["angle"] == pytest.approx(np.degrees(np.arccos(cosines([first, second], able)[0][1])), abs=1e-9)
    seen = [predict(one, TEST, predictor=Features(), run=run).logits for one in (first, second)]
    assert row["cka"] == cka(*seen) and 0 < row["cka"] < 1
    np.testing.assert_allclose(np.linalg.norm(seen[0], axis=1), 1, atol=1e-5)


def test_the_same_model_twice_gains_nothing(able: Any, run: Local) -> None:
    (row,) = pairs({"one": noisy(able, 0), "again": noisy(able, 0)}, able, TEST, run=run).rows
    assert (row["angle"], row["advantage"], row["ratio_error"], row["q_statistic"]) == (0, 0, 0, 1) and row["cka"] == pytest.approx(1, abs=1e-12)


def test_the_order_of_models_changes_no_pair(able: Any, run: Local) -> None:
    models = {name: noisy(able, seed) for seed, name in enumerate("abc")}

    def found(names: str, most: int = 8) -> dict[frozenset[str], list[Any]]:
        rows = pairs({name: models[name] for name in names}, able, TEST, most, run=run).rows
        return {frozenset((row["first"], row["second"])): [value for key, value in row.items() if key not in ("first", "second")] for row in rows}

    here, there = found("abc"), found("cab")
    assert set(here) == set(there) and all(there[key] == pytest.approx(here[key]) for key in here)
    assert found("abc", 2) == {key: row for key, row in here.items() if "c" not in key}


def test_a_model_that_diverged_is_named(able: Any, run: Local) -> None:
    broken = Checkpoint.of({**dict(able.tensors()), "head.bias": np.full(10, np.nan, np.float32)}, able.spec, able.extras)
    with pytest.raises(Diverged, match="non-finite logits: its weights diverged, leave it out"):
        pairs({"a": able, "b": broken}, able, TEST, run=run)


def test_what_makes_no_pair_is_refused(able: Any, base: Any, run: Local) -> None:
    with pytest.raises(ValueError, match="pairs of 1 models"):
        pairs({"a": able, "b": able}, able, TEST, 1, run=run)
    with pytest.raises(ValueError, match="no weight in common"):
        pairs({"a": able, "b": able}, Checkpoint.of({"x": np.ones(3, np.float32)}, able.spec), TEST, run=run)
    with pytest.raises(ValueError, match="ancestors differ"):
        pairs({"a": able, "b": able.with_spec(ancestry="another")}, able, TEST, run=run)


def test_tables_stand_together_under_their_names() -> None:
    one, other = Table(({"x": 1},), ("note",)), Table(({"x": 2},), ("note", "more"))
    both = grouped({"same init": one, "recycled": other})
    assert both == Table(({"group": "same init", "x": 1}, {"group": "recycled", "x": 2}), ("note", "more"))


@revision(1)
def chosen(data: Annotated[Any, "selects"]) -> Any: ...


def test_pairs_are_not_reported_on_what_selected_them() -> None:
    start = call(pretrained, model=OpenClip())
    with pytest.raises(ValueError, match="selected on"):
        Plan({"x": call(pairs, models={"a": call(chosen, data=TEST), "b": start}, base=start, data=TEST)})
