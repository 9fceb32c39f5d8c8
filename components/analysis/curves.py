"""Lines in weight space on data: the points of each, and where on it held-out data would stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from components.analysis.intervals import Estimate, mean_accuracy, share
from components.analysis.robustness import Outcomes, predicted, through
from components.analysis.table import MEAN
from components.predictions import Predictions
from components.types import Table, revision

BASELINE = "baseline"  # what the rows of baselines say in the place of a line


@revision(1)
def curves(
    lines: Annotated[Mapping[str, list[list[Predictions]]], "reports"],
    held_out: Annotated[Mapping[str, list[Predictions]], "selects"],
    baselines: Annotated[list[list[Predictions]], "reports"],
    alphas: list[float],
    splits: list[str],
) -> Table:
    """Every point of every line: accuracy in distribution and on each shift, with intervals, and what the line of the baselines predicts.

    lines: by name, for each of `alphas` the answers on each of `splits`, the one in distribution first; held_out: the answers that choose.
    Columns: split (the mean of the shifts first), line (`baseline` at the end), alpha; chosen, 1 where the most held-out answers are correct,
    ties to the smaller alpha; held_out; in_distribution, shifted, predicted. ValueError where answers are missing or of other examples.
    """
    counts = {len(points) for points in lines.values()} | {len(held_out[name]) for name in lines}
    if sorted(alphas) != list(alphas) or counts != {len(alphas)}:
        raise ValueError(f"{len(alphas)} alphas: give them from the smallest on, and one point of each line for each")
    if len(splits) < 2 or BASELINE in lines:
        raise ValueError(f"lines {', '.join(lines)} on {len(splits)} splits: give one or more shifts, and no line the name {BASELINE}")
    everyone = [(name, a, row) for name, points in lines.items() for a, row in zip(alphas, points, strict=True)]
    everyone += [(BASELINE, float(i), row) for i, row in enumerate(baselines)]
    outcomes = Outcomes.of({f"{name} {k:g}": row for name, k, row in everyone}, splits)
    shares, sizes = outcomes.shares(), outcomes.sizes
    through(shares, sizes, len(baselines))
    expected = predicted(shares, sizes, len(baselines))[0]
    correct = {name: [int(each.correct.sum()) for each in held_out[name]] for name in lines}
    rows: list[dict[str, Any]] = []
    for s, split in enumerate([MEAN, *splits[1:]]):
        for m, (name, k, _) in enumerate(everyone):
            here, there = at(outcomes, m, [0]), at(outcomes, m, range(1, len(splits)) if s == 0 else [s])
            known: dict[str, Any] = {"split": split, "line": name, "alpha": None, "chosen": None, "held_out": None}
            if name in lines:
                i = list(alphas).index(k)
                first = correct[name].index(max(correct[name]))
                known |= {"alpha": k, "chosen": int(i == first), "held_out": correct[name][i] / len(held_out[name][i])}
            rows.append({**known, **ends("in_distribution", here), **ends("shifted", there), "predicted": float(expected[m, s])})
    return Table(tuple(rows), ("95 % intervals: Wilson, of a mean of shifts clustered by example.",))


def at(outcomes: Outcomes, model: int, splits: Any) -> Estimate:
    """The accuracy of a model on one split, or the mean over several."""
    parts = [(outcomes.ids[s], outcomes.right[s][model]) for s in splits]
    return mean_accuracy(parts) if len(parts) > 1 else share(float(parts[0][1].sum()), len(parts[0][0]))


def ends(name: str, estimate: Estimate) -> dict[str, float]:
    """The columns of an estimate."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
