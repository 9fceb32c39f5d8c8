"""The table of a study: every model on every reported split, with intervals, and compared with the baseline example by example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np

from components.analysis.intervals import Difference, mean_accuracy, mean_difference, paired
from components.metrics import CalibrationError, MeanPerClass, Top1, TopK
from components.predictions import Predictions
from components.types import Table, revision

MEAN = "mean of shifts"  # the split name of the rows that average the shifts, each of equal weight


@revision(1)
def tabulate(
    predictions: Annotated[Mapping[str, list[Predictions]], "reports"],
    splits: list[str],
    baseline: str,
    *,
    shifts: list[str] | None = None,
    mean: str = MEAN,
) -> Table:
    """One row for each model and split, and for each model's mean of shifts, under the name `mean`.

    predictions: of each model, by its name, one for each split; baseline: the model that the others are compared with, paired by
    example id; shifts: the splits that the mean is over, by default all but the first. Columns: top1 with correct, n, low, high; top5
    (None where there are at most 5 classes); mean_per_class; calibration_error; difference to the baseline with low, high, p and verdict
    (`better`, `worse`, `no evidence`, or `baseline`); leads: no model of the table is measurably better here.
    ValueError where models answered different examples of a split, or a name is missing.
    """
    shifts = splits[1:] if shifts is None else shifts
    models = list(predictions)
    _check(predictions, splits, baseline, shifts, mean)
    marks = [[_correct(answers) for answers in row] for row in predictions.values()]
    for s, split in enumerate(splits):
        for m, model in enumerate(models):
            if not np.array_equal(marks[m][s][0], marks[0][s][0]):
                raise ValueError(f"{model} and {models[0]} answered different examples of {split}: predict both on the same data")
    rows: list[dict[str, Any]] = []
    for m, model in enumerate(models):
        for s, split in enumerate(splits):
            rows.append({"model": model, "split": split, **_scores(predictions[model][s])})
        if shifts:
            averaged = [rows[m * (len(splits) + 1) + splits.index(name)] for name in shifts]
            rows.append({"model": model, "split": mean, **_averages(averaged, [marks[m][splits.index(name)] for name in shifts])})
    columns = [(split, [s]) for s, split in enumerate(splits)] + ([(mean, [splits.index(name) for name in shifts])] if shifts else [])
    for split, members in columns:
        column = [row for row in rows if row["split"] == split]
        answers = [[marks[m][s] for s in members] for m in range(len(models))]
        _compare(column, answers, models.index(baseline))
    return Table(tuple(rows), (_note(baseline, len(shifts), mean),))


def compare(first: Sequence[tuple[np.ndarray, np.ndarray]], second: Sequence[tuple[np.ndarray, np.ndarray]]) -> Difference:
    """The paired difference of two models over one split (Tango) or over the mean of several (clustered by example); equal ids, in order."""
    if len(first) == 1:
        a, b = first[0][1].astype(bool), second[0][1].astype(bool)
        return paired(int((a & ~b).sum()), int((b & ~a).sum()), len(a))
    return mean_difference([(ids, a.astype(np.int64) - b) for (ids, a), (_, b) in zip(first, second, strict=True)])


def _check(predictions: Mapping[str, Sequence[Predictions]], splits: Sequence[str], baseline: str, shifts: Sequence[str], mean: str) -> None:
    for what, names in (("splits", splits), ("shifts", shifts)):
        if len(set(names)) != len(names):
            raise ValueError(f"the {what} of a table need different names: {', '.join(names)}")
    for model, row in predictions.items():
        if len(row) != len(splits):
            raise ValueError(f"{model} has {len(row)} predictions for {len(splits)} splits: give one for each")
    if baseline not in predictions:
        raise ValueError(f"the baseline {baseline!r} is not a model of the table: choose one of {', '.join(predictions)}")
    for name in (*shifts, *([mean] if mean in splits else [])):
        if name not in splits or name == mean:
            raise ValueError(f"{name!r} cannot be a shift or a split here: the splits are {', '.join(splits)}, and {mean!r} is reserved")


def _correct(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the labelled examples and whether each was answered correctly, in the order of the ids."""
    known = predictions.labels >= 0
    ids = np.asarray(predictions.ids, dtype=str)[known]
    order = np.argsort(ids, kind="stable")
    return ids[order], predictions.correct[known].astype(np.int64)[order]


def _scores(predictions: Predictions) -> dict[str, Any]:
    top1 = Top1()(predictions)
    return {
        "n": top1.n,
        "correct": top1.correct,
        "top1": top1.value,
        "low": top1.low,
        "high": top1.high,
        "top5": TopK(5)(predictions).value if predictions.logits.shape[1] > 5 else None,
        "mean_per_class": MeanPerClass()(predictions).value,
        "calibration_error": CalibrationError()(predictions).value,
    }


def _averages(rows: Sequence[Mapping[str, Any]], marks: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    def mean(name: str) -> float | None:
        values = [row[name] for row in rows]
        return None if None in values else float(np.mean(values))

    top1 = mean_accuracy(marks)
    own = {"n": sum(row["n"] for row in rows), "correct": None, "top1": top1.value, "low": top1.low, "high": top1.high}
    return own | {name: mean(name) for name in ("top5", "mean_per_class", "calibration_error")}


def _compare(column: Sequence[dict[str, Any]], answers: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]], baseline: int) -> None:
    """Add the difference to the baseline, and whether the model leads, to every row of one split."""
    best = max(range(len(column)), key=lambda m: column[m]["top1"])
    for m, row in enumerate(column):
        gap = compare(answers[m], answers[baseline])
        own = m == baseline
        row |= {
            "difference": None if own else gap.value,
            "difference_low": None if own else gap.low,
            "difference_high": None if own else gap.high,
            "p": None if own else gap.p,
            "verdict": "baseline" if own else gap.verdict,
            "leads": compare(answers[m], answers[best]).verdict != "worse",
        }


def _note(baseline: str, shifts: int, mean: str) -> str:
    text = f"Top-1 with Wilson 95 % intervals; differences to {baseline} are paired by example (Tango's interval, McNemar's mid-p)"
    if not shifts:
        return f"{text}."
    return f"{text}; the mean of {shifts} {mean.removeprefix('mean of ')} weighs them equally, its intervals are clustered by example."
