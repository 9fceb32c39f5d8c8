"""What two models gain from being averaged, and how unlike they are: pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated, Any, NamedTuple

import numpy as np

from components.types import Dataset, Run, Table, maps, revision
from components.weights import Checkpoint, Combination, Policy, mean

NOTES = (
    "Advantage: accuracy of the mean of two models less the mean of their accuracies, with a normal 95 % interval over examples.",
    "Angle: between the moves of the two from their common start, over all weights, in degrees.",
    "Ratio error: examples that exactly one of the two gets wrong, over those that both do (two different wrong answers are shared). Q statistic: "
    "Yule's, of their successes. CKA: linear, of unit image features on at most the first 4,096 examples.",
)


class Seen(NamedTuple):
    """What a model did on the labelled examples. ids: str [N]; right: bool [N]; features: float32 [at most 4,096, D], or None."""

    ids: np.ndarray
    right: np.ndarray
    features: np.ndarray | None


@maps
@revision(1)
def pairs(
    models: Mapping[str, Checkpoint],
    base: Checkpoint,
    data: Annotated[Dataset, "reports"],
    most: int = 8,
    policy: Policy = Policy(),  # noqa: B008
    *,
    run: Run,
) -> Table:
    """One row for every two of the first `most` models: what their mean gains on `data` (interpolation advantage), and how unlike they are.

    Columns: first, second (names); angle in degrees between their moves from `base`; accuracy of the mean and advantage with low and high, shares;
    ratio_error, q_statistic, cka (None where undefined); n. No file is written. Diverged, with its name, where a model's answers are not
    finite; ValueError for fewer than two models, or ones that cannot be averaged. Wortsman et al. 2022, arXiv:2203.05482.
    """
    names = list(models)[:most]
    if len(names) < 2:
        raise ValueError(f"pairs of {len(names)} models: give at least two, and let `most` be at least 2")
    mean([models[name] for name in names], policy).assembly  # noqa: B018 (compares the headers)
    chosen = list(combinations(names, 2))
    steep = _angles([models[name] for name in names], base)
    asked: list[Checkpoint | Combination] = [*(models[name] for name in names), *(mean([models[a], models[b]], policy) for a, b in chosen)]
    shared: dict[str, Any] = {"data": data, "run": run}
    seen = run.map(looked, [{"checkpoint": one, "features": i < len(names), **shared} for i, one in enumerate(asked)])
    singles = dict(zip(names, seen, strict=False))
    rows = []
    for (a, b), both in zip(chosen, seen[len(names) :], strict=True):
        angle = float(steep[names.index(a), names.index(b)])
        rows.append({"first": a, "second": b, "angle": angle, **_compared(singles[a], singles[b], both)})
    return Table(tuple(rows), NOTES)


@revision(1)
def grouped(tables: Mapping[str, Table]) -> Table:
    """The rows of several tables as one, each with the name of its own in the column `group`; notes once."""
    rows = tuple({"group": name, **row} for name, table in tables.items() for row in table.rows)
    return Table(rows, tuple(dict.fromkeys(note for table in tables.values() for note in table.notes)))


def looked(checkpoint: Checkpoint | Combination, data: Dataset, features: bool, run: Run) -> Seen:
    """What one model does: an item of a `run.map`."""
    from components.evaluate import outputs
    from components.predictors.features import Features

    answers = outputs(checkpoint, data, run=run)
    known = answers.labels >= 0
    if not known.any():
        raise ValueError("none of the examples has a label: no accuracy to compare")
    unit = outputs(checkpoint, data, predictor=Features(), start=0, run=run).logits if features else None
    return Seen(np.asarray(answers.ids, dtype=str)[known], answers.correct[known], unit)


def _angles(models: list[Checkpoint], base: Checkpoint) -> np.ndarray:
    """Degrees between the moves, [N, N]; 90 where a model did not move."""
    from components.weights import geometry

    found = geometry.grams([base, *models], geometry.moves)
    if not found:
        raise ValueError("base has no weight in common with the models: give the model that they began from")
    return np.asarray(np.degrees(np.arccos(geometry.cosines(geometry.total(found)))))


def _compared(first: Seen, second: Seen, both: Seen) -> dict[str, Any]:
    """The numbers of one pair."""
    from components.analysis.cka import cka
    from components.analysis.diversity import q_statistic, ratio_error
    from components.analysis.intervals import mean_difference

    gain = mean_difference([(both.ids, both.right - (first.right.astype(np.float64) + second.right) / 2)])
    assert first.features is not None and second.features is not None
    return {
        "accuracy": float(both.right.mean()),
        "advantage": gain.value,
        "advantage_low": gain.low,
        "advantage_high": gain.high,
        "ratio_error": ratio_error(first.right, second.right),
        "q_statistic": q_statistic(first.right, second.right),
        "cka": cka(first.features, second.features),
        "n": len(both.right),
    }
