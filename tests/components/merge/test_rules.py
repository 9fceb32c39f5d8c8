"""The merge rules that need no search, and ensembles."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from components.merge.best import best
from components.merge.ensemble import ensemble, greedy_ensemble
from components.merge.uniform import uniform
from components.merge.wise_ft import wise_ft
from components.predictions import Predictions
from components.types import DataError
from components.weights import Checkpoint, Policy, mean

SPEC = {"model_cfg": {}, "ancestry": "root"}


def answers(logits: Any, labels: Any = (0, 1, 0, 1)) -> Predictions:
    logits = np.asarray(logits, np.float32)
    ids = np.array([f"image-{i}" for i in range(len(logits))])
    return Predictions(ids, np.asarray(labels, np.int64)[: len(logits)], logits, None, ("a", "b"))


def scored(correct: int) -> Predictions:
    """Four answers of which so many are right."""
    return answers([[1, 0] if (i % 2 == 0) == (i < correct) else [0, 1] for i in range(4)])


def model(seed: int, **tensors: Any) -> Checkpoint:
    random = np.random.default_rng(seed)
    return Checkpoint.of({"w": random.normal(size=(5, 3)).astype(np.float32), **tensors}, SPEC)


def test_best_is_a_copy_and_ties_go_to_the_earlier() -> None:
    models = [model(i) for i in range(4)]
    found = best(models, [scored(n) for n in (1, 3, 3, 2)])
    assert (found.facts["members"], found.facts["correct"]) == ([1], [1, 3, 3, 2])
    assert dict(found.tensors())["w"].tobytes() == dict(models[1].tensors())["w"].tobytes()


def test_lists_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="2 models and 1 predictions"):
        best([model(0), model(1)], [scored(1)])
    with pytest.raises(ValueError, match="0 models and 0 predictions"):
        best([], [])
    with pytest.raises(DataError, match="other examples"):
        best([model(0), model(1)], [scored(1), answers([[0, 1]])])
    with pytest.raises(ValueError, match="different classes"):
        best([model(0), model(1)], [scored(1), answers(np.zeros((4, 3)))])


def test_uniform_is_the_mean_under_a_policy() -> None:
    models = [model(i) for i in range(3)]
    expected = sum(dict(one.tensors())["w"].astype(np.float64) for one in models) / 3
    found = uniform(models, Policy(dtype="float64"))
    assert np.array_equal(dict(found.tensors())["w"], expected)
    assert found.spec["facts"] == {"rule": "uniform", "members": [0, 1, 2]}


def test_linear_models_make_ensemble_and_soup_equal() -> None:
    """For f = W x the logits of the mean are the mean of the logits, and so they are along the line of WiSE-FT."""
    x = np.random.default_rng(9).normal(size=(20, 3))
    models = [Checkpoint.of({"w": np.random.default_rng(i).normal(size=(5, 3))}, SPEC) for i in range(4)]

    def logits(one: Any) -> np.ndarray:
        return x @ dict(one.tensors())["w"].T

    np.testing.assert_allclose(logits(mean(models)), np.mean([logits(one) for one in models], axis=0), atol=1e-12)
    along = 0.75 * logits(models[0]) + 0.25 * logits(models[1])
    np.testing.assert_allclose(logits(wise_ft(models[0], models[1], 0.25)), along, atol=1e-12)


def test_wise_ft_is_exact_in_alpha() -> None:
    one, other = model(0), model(1)
    weights = {weight.to_json() for _, weight in wise_ft(one, other, 0.3).terms}
    assert weights == {"7/10", "3/10"}
    assert wise_ft(one, other, 0.3).facts == {"rule": "wise_ft", "alpha": 0.3}
    assert sum(Fraction(weight) for weight in weights) == 1


def test_an_ensemble_is_the_mean_of_logits_not_of_probabilities() -> None:
    sure, unsure = answers([[10, 0]]), answers([[0, 6]])
    assert ensemble([sure, unsure]).logits.tolist() == [[5, 3]]
    assert ensemble([sure, unsure], [1]).logits.tolist() == [[0, 6]]
    assert ensemble([sure, unsure]).logits.dtype == np.float32
    for members in ([], [2], [-1]):
        with pytest.raises(ValueError, match="give at least one"):
            ensemble([sure, unsure], members)


def test_an_ensemble_does_not_depend_on_the_order_of_equal_members() -> None:
    one = scored(3)
    assert np.array_equal(ensemble([one] * 7).logits, one.logits)


def test_a_greedy_ensemble_keeps_members_that_help() -> None:
    """Two models that are each wrong on another example correct each other; a third that repeats the first adds nothing."""
    first = answers([[3, 0], [0, 3], [3, 0], [1, 0]])
    again = answers([[2, 0], [0, 2], [2, 0], [1, 0]])
    other = answers([[3, 0], [0, 3], [0, 1], [0, 3]])
    assert [each.summary()["correct"] for each in (first, again, other)] == [3, 3, 3]
    assert greedy_ensemble([first, again, other]) == [0, 2]
    assert greedy_ensemble([first, again, other], "ge") == [0, 1, 2]
