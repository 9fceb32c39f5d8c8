import json

import numpy as np
import pytest

from components.analysis.intervals import paired
from components.analysis.table import MEAN, tabulate
from components.predictions import Predictions

N, K = 60, 7


def _predictions(correct: np.ndarray, ids: np.ndarray | None = None, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.arange(N) % K
    logits = rng.normal(0, 0.1, (N, K)).astype(np.float32)
    logits[np.arange(N), np.where(correct, labels, (labels + 1) % K)] += 3
    return Predictions(ids=np.array([f"{i}" for i in range(N)]) if ids is None else ids, labels=labels, logits=logits)


def _answers() -> list[Predictions]:
    rng = np.random.default_rng(1)
    return [_predictions(rng.random(N) < p, seed=k) for k, p in enumerate((0.9, 0.6, 0.5, 0.95, 0.9, 0.9))]


def test_rows_count_and_compare_example_by_example() -> None:
    answers = _answers()
    table = tabulate({"a": answers[:3], "b": answers[3:]}, ["test", "s1", "s2"], "a")
    rows = {(row["model"], row["split"]): row for row in table.rows}
    assert list(rows) == [(m, s) for m in "ab" for s in ("test", "s1", "s2", MEAN)]
    for k, (model, split) in enumerate((m, s) for m in "ab" for s in ("test", "s1", "s2")):
        row = rows[model, split]
        assert row["correct"] == answers[k].correct.sum() and row["n"] == N and row["top1"] == row["correct"] / N
        assert row["low"] < row["top1"] < row["high"]
    one, two = answers[3].correct, answers[0].correct
    expected = paired(int((one & ~two).sum()), int((two & ~one).sum()), N)
    got = rows["b", "test"]
    assert (got["difference"], got["difference_low"], got["difference_high"], got["p"]) == expected and got["verdict"] == expected.verdict
    assert rows["a", "test"]["verdict"] == "baseline" and rows["a", "test"]["difference"] is None
    assert rows["b", MEAN]["top1"] == pytest.approx((rows["b", "s1"]["top1"] + rows["b", "s2"]["top1"]) / 2)
    assert rows["b", MEAN]["verdict"] == "better" and not rows["a", MEAN]["leads"] and rows["b", MEAN]["leads"]
    assert rows["b", MEAN]["difference"] == pytest.approx(rows["b", MEAN]["top1"] - rows["a", MEAN]["top1"])
    assert json.loads(json.dumps(table.rows))[0]["model"] == "a"
    assert len({tuple(row) for row in table.rows}) == 1


def test_the_order_of_examples_does_not_matter() -> None:
    answers = _answers()
    order = np.random.default_rng(5).permutation(N)
    moved = answers[3]
    moved = Predictions(ids=moved.ids[order], labels=moved.labels[order], logits=moved.logits[order])
    straight = tabulate({"a": [answers[0]], "b": [answers[3]]}, ["test"], "a").rows[1]
    shuffled = tabulate({"a": [answers[0]], "b": [moved]}, ["test"], "a").rows[1]
    assert {k: v for k, v in shuffled.items() if k != "calibration_error"} == {
        k: v for k, v in straight.items() if k != "calibration_error"
    }


def test_examples_without_a_label_do_not_count() -> None:
    whole = _answers()[0]
    unknown = Predictions(ids=whole.ids, labels=np.where(np.arange(N) < 10, -1, whole.labels), logits=whole.logits)
    row = tabulate({"a": [unknown]}, ["test"], "a").rows[0]
    assert (row["n"], row["correct"]) == (N - 10, whole.correct[10:].sum())


def test_one_split_has_no_mean_and_shifts_can_be_chosen() -> None:
    answers = _answers()
    assert [row["split"] for row in tabulate({"a": answers[:1]}, ["test"], "a").rows] == ["test"]
    table = tabulate({"a": answers[:3]}, ["x", "test", "y"], "a", shifts=["x", "y"])
    assert table.rows[-1]["top1"] == pytest.approx((answers[0].correct.mean() + answers[2].correct.mean()) / 2)


def test_what_does_not_fit_is_refused_with_the_remedy() -> None:
    answers = _answers()
    with pytest.raises(ValueError, match="give one for each"):
        tabulate({"a": answers[:2], "b": answers[2:3]}, ["test", "s1"], "a")
    with pytest.raises(ValueError, match="choose one of a, b"):
        tabulate({"a": answers[:1], "b": answers[1:2]}, ["test"], "c")
    with pytest.raises(ValueError, match="need different names"):
        tabulate({"a": answers[:2]}, ["test", "test"], "a")
    other = _predictions(np.ones(N, bool), ids=np.array([f"x{i}" for i in range(N)]))
    with pytest.raises(ValueError, match="predict both on the same data"):
        tabulate({"a": [answers[0]], "b": [other]}, ["test"], "a")
    with pytest.raises(ValueError, match="is reserved"):
        tabulate({"a": answers[:1]}, [MEAN], "a")
