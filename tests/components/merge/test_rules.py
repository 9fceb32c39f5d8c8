"""The merge rules: greedy search against scripted oracles, ensembles, and soups of a real tiny model on real pixels."""

from __future__ import annotations

from fractions import Fraction
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.merge.best import best
from components.merge.ensemble import ensemble, greedy_ensemble
from components.merge.search import search
from components.merge.uniform import uniform
from components.merge.wise_ft import wise_ft
from components.predictions import Predictions
from components.types import DataError, Diverged
from components.weights import Checkpoint, NotFinite, Policy, mean

SPEC = {"model_cfg": {}, "ancestry": "root"}


class Oracle:
    """Counts of correct answers by set of members, and which sets were asked for."""

    def __init__(self, counts: dict[tuple[int, ...], int]) -> None:
        self.counts, self.asked = counts, []

    def __call__(self, members: list[int]) -> int:
        self.asked.append(list(members))
        return self.counts[tuple(members)]


def test_greedy_accepts_rejects_and_never_retries() -> None:
    oracle = Oracle({(2,): 50, (2, 0): 49, (2, 1): 51, (2, 1, 3): 60, (2, 1, 3, 4): 60})
    found = search([2, 0, 1, 3, 4], oracle, "gt")
    assert found.members == [2, 1, 3]
    assert oracle.asked == [[2], [2, 0], [2, 1], [2, 1, 3], [2, 1, 3, 4]]
    assert [(entry["index"], entry["accepted"], entry["correct"]) for entry in found.trace] == [
        (2, True, 50), (0, False, 49), (1, True, 51), (3, True, 60), (4, False, 60),
    ]  # fmt: skip
    assert found.trace[-1]["reason"] == "60 correct = 60"


@pytest.mark.parametrize(("accept", "members"), [("gt", [0]), ("ge", [0, 1, 2])])
def test_a_tie_is_rejected_by_gt_and_accepted_by_ge(accept: Any, members: list[int]) -> None:
    assert search([0, 1, 2], lambda members: 7, accept).members == members


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.randoms(use_true_random=False), st.sampled_from(["gt", "ge"]))
def test_greedy_is_at_least_the_best_single_and_asks_once_for_each(singles: list[int], random: Any, accept: Any) -> None:
    order = sorted(range(len(singles)), key=lambda i: (-singles[i], i))
    table: dict[tuple[int, ...], int] = {}

    def correct(members: list[int]) -> int:
        return table.setdefault(tuple(members), singles[members[0]] if len(members) == 1 else random.randint(0, 30))

    found = search(order, correct, accept)
    assert table[tuple(found.members)] >= max(singles)
    assert found.members[0] == order[0]
    assert len(table) - 1 == len(singles) - 1  # one candidate for each but the first
    assert search(order, correct, accept) == found


def test_members_that_are_not_finite_are_rejected_by_name_and_the_search_goes_on() -> None:
    def correct(members: list[int]) -> int:
        if members[-1] == 0:
            raise NotFinite("trial-0", "visual.proj", float("nan"))
        if members[-1] == 2:
            raise Diverged("the loss of trial-2 is nan")
        return len(members)

    found = search([0, 1, 2, 3], correct, "gt")
    assert found.members == [1, 3]
    assert [entry["reason"] for entry in found.trace if "correct" not in entry] == [
        "trial-0 has the value nan in visual.proj: leave it out of the combination, or train it again",
        "the loss of trial-2 is nan",
    ]
    with pytest.raises(ValueError, match="every candidate was rejected: trial-0 has the value nan"):
        search([0], correct, "gt")
    with pytest.raises(ValueError, match="accept is gt or ge"):
        search([1], correct, "gte")  # type: ignore[arg-type]


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


def test_greedy_on_a_real_model(tmp_path: Any) -> None:
    """The whole path: every candidate is built and evaluated on data; a broken model is rejected by name."""
    import torch

    from components.data.digits import Digits
    from components.data.split import Split
    from components.evaluate import outputs
    from components.merge.greedy import greedy
    from components.models.heads import zero_shot
    from components.models.openclip import OpenClip, pretrained
    from components.types import Local

    torch.set_num_threads(1)
    run = Local(str(tmp_path))
    data = Split(Digits(), 0.0, 0.1)
    base = zero_shot(pretrained(OpenClip(), run=run), tuple("0123456789"), ("a {}",), run=run)
    base.save(f"{tmp_path}/base")
    start = dict(base.tensors())
    models = []
    for trial in count(1):
        random = np.random.default_rng(trial)
        moved = {key: array + 0.02 * random.normal(size=array.shape).astype(np.float32) for key, array in start.items()}
        if trial == 2:
            moved["visual.proj" if "visual.proj" in moved else next(iter(moved))].fill(np.nan)
        models.append(Checkpoint.of(moved, base.spec, base.extras).with_spec(name=f"trial-{trial}"))
        if trial == 4:
            break
    sound = [0, 2, 3]
    recorded = [outputs(models[i], data, run=run) if i in sound else None for i in range(4)]
    recorded[1] = recorded[0]
    soup = greedy(models, recorded, data, run=run)
    trace = {entry["index"]: entry for entry in soup.facts["search"]}
    assert not trace[1]["accepted"]
    assert "in memory has the value nan" in trace[1]["reason"]
    found = outputs(soup, data, run=run).summary()["correct"]
    assert found == max(entry["correct"] for entry in trace.values() if entry["accepted"])
    assert found >= max(recorded[i].summary()["correct"] for i in sound)
    soup.save(f"{tmp_path}/soup")
    assert Checkpoint(f"{tmp_path}/soup").spec["facts"]["members"] == soup.facts["members"]
