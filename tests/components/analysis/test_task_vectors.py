"""The tables of task arithmetic against counts done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from components.analysis.analogies import analogies
from components.analysis.cosine import cosines, task_cosines
from components.analysis.forgetting import MEAN, forgetting
from components.analysis.intervals import share
from components.analysis.normalised import additions, normalised
from components.predictions import Predictions
from components.types import DataError
from components.weights import Checkpoint
from tests.components.analysis.test_cosine import make

PLAIN = Checkpoint.of({"w": np.zeros(1)}, {"ancestry": "root"})


def answers(correct: int, n: int = 100, first: int = 0, name: str = "a") -> Predictions:
    """Of n examples the `correct` from number `first` on are answered correctly."""
    right = np.zeros(n, bool)
    right[first : first + correct] = True
    return Predictions(np.array([f"{name}/{i}" for i in range(n)]), np.zeros(n, np.int64), np.stack([right, ~right], axis=1).astype(np.float32))


def said(**facts: object) -> Checkpoint:
    return PLAIN.describe(**facts)


def test_normalised_accuracy_is_the_mean_of_ratios_and_certain_where_the_answers_agree() -> None:
    a, b = answers(40), answers(30, 60, name="b")
    assert tuple(normalised([a, b], [a, b])) == (1, 1, 1)
    found = normalised([answers(20), answers(60, 60, name="b")], [a, b])
    assert found.value == pytest.approx((20 / 40 + 60 / 30) / 2) and found.low < found.value < found.high
    assert tuple(found) == tuple(normalised([answers(20), answers(60, 60, name="b")], [a, b]))
    with pytest.raises(DataError, match="different examples"):
        normalised([a], [b])
    with pytest.raises(ValueError, match="no correct answer"):
        normalised([a], [answers(0)])


def test_its_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """300 samples of 200 examples of which a model answers 80 % of the 0.5 that its task's own model does, and no others."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        alone = rng.random(200) < 0.5
        right = alone & (rng.random(200) < 0.8)
        one, own = (Predictions(np.arange(200).astype(str), np.zeros(200, np.int64), np.stack([x, ~x], 1).astype(np.float32)) for x in (right, alone))
        found = normalised([one], [own])
        held += found.low <= 0.8 <= found.high
    assert 270 <= held <= 297


def test_a_row_of_the_sums_tells_the_coefficient_and_who_keeps_least() -> None:
    a, b = answers(40), answers(30, 60, name="b")
    merged = {"a + b": [answers(30), answers(15, 60, name="b")], "a": [a]}
    zero = {"a + b": [answers(10), answers(0, 60, name="b")], "a": [answers(20)]}
    table = additions(merged, {"a + b": [a, b], "a": [a]}, zero, {"a + b": said(rule="addition", coefficient=0.35), "a": PLAIN})
    first, second = table.rows
    assert (first["tasks"], first["coefficient"], first["worst"]) == ("a + b", 0.35, 0.5)
    assert (first["normalised"], first["zero_shot"]) == pytest.approx((0.625, 0.125))
    assert (second["coefficient"], second["normalised"], second["worst"], second["zero_shot"]) == (None, 1, 1, 0.5)


def test_forgetting_tells_targets_controls_and_their_means() -> None:
    methods = ["before", "less"]
    target = {"a": [answers(50), answers(20)], "b": [answers(80, name="b"), answers(30, name="b")]}
    control = {"a": [answers(90, name="c"), answers(45, name="c")], "b": [answers(90, name="c"), answers(81, name="c")]}
    models = {name: [PLAIN, said(rule="negation", coefficient=0.4)] for name in target}
    rows = forgetting(target, control, models, methods).rows
    rows = rows[2:] + rows[:2]  # the means stand first
    assert [(row["target"], row["method"], row["coefficient"]) for row in rows[:4]] == [
        ("a", "before", None), ("a", "less", 0.4), ("b", "before", None), ("b", "less", 0.4)
    ]  # fmt: skip
    assert [row["target_accuracy"] for row in rows] == pytest.approx([0.5, 0.2, 0.8, 0.3, 0.65, 0.25])
    assert [row["control_accuracy"] for row in rows] == pytest.approx([0.9, 0.45, 0.9, 0.81, 0.9, 0.63])
    assert [row["kept"] for row in rows] == pytest.approx([1, 0.5, 1, 0.9, 1, 0.7])
    assert (rows[1]["target_accuracy_low"], rows[1]["target_accuracy_high"]) == pytest.approx(share(20, 100)[1:])
    assert [row["target"] for row in rows[4:]] == [MEAN, MEAN]
    width = [row["control_accuracy_high"] - row["control_accuracy_low"] for row in rows]
    assert width[4] == pytest.approx(width[0]), "one control that is asked twice is no larger control"
    assert len(forgetting({"a": target["a"]}, {"a": control["a"]}, {"a": models["a"]}, methods).rows) == 2


def test_an_analogy_is_compared_with_what_it_was_made_of() -> None:
    named = {"c": answers(30), "analogy": answers(40, first=10), "own": answers(90)}
    models = {"c": PLAIN, "analogy": said(rule="chosen_analogy", coefficient=1.0), "own": said(rule="towers", coefficient=3)}
    rows = analogies(named, models, "c").rows
    assert [(row["model"], row["coefficient"]) for row in rows] == [("c", None), ("analogy", 1.0), ("own", None)]
    assert [row["difference"] for row in rows] == [None, pytest.approx(0.1), pytest.approx(0.6)]
    assert rows[1]["difference_low"] < 0.1 < rows[1]["difference_high"]
    with pytest.raises(DataError, match="different examples"):
        analogies({"c": answers(30), "d": answers(30, name="d")}, models, "c")


def test_cosines_of_tasks_are_rows_in_order() -> None:
    base, models = make(0), {"a": make(1), "b": make(2)}
    expected = cosines(list(models.values()), base)
    assert task_cosines(base, models).rows == tuple({"task": name, "a": row[0], "b": row[1]} for name, row in zip("ab", expected, strict=True))
