from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.metrics import CalibrationError, MacroF1, MeanPerClass, Top1, TopK, WorstGroup, wilson
from components.predictions import Predictions


def predictions(logits: list[list[float]], labels: list[int]) -> Predictions:
    return Predictions(np.array([str(i) for i in range(len(labels))]), np.array(labels), np.array(logits, np.float32))


def test_wilson_golden_and_bounds() -> None:
    # statsmodels.stats.proportion.proportion_confint(45, 50, method="wilson")
    assert wilson(45, 50) == pytest.approx((0.7864, 0.9565), abs=1e-4)
    assert wilson(0, 20)[0] == 0.0 and wilson(20, 20)[1] == 1.0
    for correct, n in ((1, 0), (-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="proportion"):
            wilson(correct, n)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_estimate_and_is_symmetric(pair: tuple[int, int]) -> None:
    correct, n = pair
    low, high = wilson(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert (1 - high, 1 - low) == pytest.approx(wilson(n - correct, n))


def test_ties_go_to_the_smaller_class() -> None:
    tied = predictions([[1, 1, 0], [1, 1, 0], [0, 0, 0]], [0, 1, 2])
    assert Top1()(tied).correct == 1
    assert TopK(2)(tied).correct == 2  # class 2 of three equal logits is third
    assert TopK(3)(tied).correct == 3


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_top_k_grows_with_k_and_begins_at_top_1(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    some = predictions(rng.integers(0, 3, (20, classes)).tolist(), rng.integers(0, classes, 20).tolist())
    counts = [TopK(k)(some).correct for k in range(1, classes + 1)]
    assert counts[0] == Top1()(some).correct and counts == sorted(counts) and counts[-1] == 20


def test_only_labelled_examples_count() -> None:
    some = predictions([[1, 0], [1, 0], [0, 1]], [0, -1, 0])
    assert (Top1()(some).n, Top1()(some).correct) == (2, 1)
    with pytest.raises(ValueError, match="none of the 1 examples has a label"):
        Top1()(predictions([[1, 0]], [-1]))


def test_mean_per_class_weighs_classes_not_examples() -> None:
    # class 0: 9 of 9, class 1: 0 of 1; class 2 never occurs in the labels though it is predicted
    some = predictions([[1, 0, 0]] * 9 + [[0, 0, 1]], [0] * 9 + [1])
    score = MeanPerClass()(some, "test")
    assert (score.value, score.n, score.split) == (0.5, 10, "test")
    assert Top1()(some).value == 0.9
    assert score.low < 0.5 < score.high


def test_calibration_golden() -> None:
    # confidence 0.9 on four examples of which three are right, 0.6 on two of which one is right: (4 * 0.15 + 2 * 0.1) / 6
    def row(confidence: float) -> list[float]:
        return [float(np.log(confidence)), float(np.log(1 - confidence))]

    some = predictions([row(0.9)] * 4 + [row(0.6)] * 2, [0, 0, 0, 1, 0, 1])
    score = CalibrationError()(some)
    assert score.value == pytest.approx((4 * 0.15 + 2 * 0.1) / 6, abs=1e-6)
    assert score.low <= score.value <= score.high
    assert CalibrationError()(some) == score
    assert not CalibrationError.ascending


def test_a_certain_and_right_model_is_calibrated() -> None:
    assert CalibrationError()(predictions([[100, 0]] * 5, [0] * 5)).value == 0.0


def test_macro_f1_golden_with_a_class_that_is_only_predicted() -> None:
    # sklearn.metrics.f1_score([0, 0, 0, 1], [0, 0, 2, 1], average="macro", labels=[0, 1]); with labels=None it is 0.6
    some = predictions([[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]], [0, 0, 0, 1])
    score = MacroF1()(some, "test")
    assert (score.value, score.n, score.metric) == (pytest.approx((0.8 + 1) / 2), 4, "macro F1")
    assert score.low <= score.value <= score.high and MacroF1()(some, "test") == score


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_macro_f1_is_scikit_learns_over_the_labels_present(seed: int, classes: int) -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(seed)
    labels, logits = rng.integers(0, classes, 15), rng.normal(size=(15, classes))
    expected = f1_score(labels, logits.argmax(axis=1), average="macro", labels=np.unique(labels), zero_division=0)
    assert MacroF1()(predictions(logits.tolist(), labels.tolist())).value == pytest.approx(expected)


def test_the_worst_group_leaves_out_what_is_ignored() -> None:
    some = predictions([[1, 0]] * 9, [0, 0, 1, 0, 0, 0, 1, 1, -1])
    grouped = dataclasses.replace(some, groups=np.array([0, 0, 0, 2, 2, 2, 5, 5, 5]))
    assert (WorstGroup()(grouped).correct, WorstGroup()(grouped).n) == (0, 2)
    score = WorstGroup(ignored=(5,))(grouped, "test")  # 2 of 3 in group 0, 3 of 3 in group 2; group 1 is empty
    assert (score.correct, score.n, score.metric, score.split) == (2, 3, "worst group", "test")
    with pytest.raises(ValueError, match="none of 8 examples is of a group that counts"):
        WorstGroup(ignored=(0, 2, 5))(grouped)
    with pytest.raises(ValueError, match="needs groups and the data has none"):
        WorstGroup()(some)
