"""How good a patch is: its distance from an ideal one, and what patching on one task does to the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from components.analysis.intervals import paired
from components.predictions import Predictions
from components.types import Table, revision


@revision(1)
def distances(frontiers: Table) -> Table:
    """How far each patch is from losing nothing and gaining everything, in accuracy.

    With S(a) and P(a) the supported and the patching accuracy at alpha a: `to optimal` = (max S + max P) / 2 - max (S + P) / 2 over a, which
    belongs to the line alone; `to optimal, chosen` puts the chosen alpha in place of the last maximum; `to the ends` = (S(0) + P(1)) / 2 -
    (S + P) / 2 at the chosen alpha, negative where the patch is better than the base and the fine-tuned model each in their own field.
    The formulas are ours, after the name that Ilharco et al. 2022 (arXiv:2208.05592) give to the first. Columns also: task, alpha,
    supported and patching (at the chosen alpha), and their changes from the base. frontiers: the rows of `merge.frontier.frontiers`.
    """
    rows = []
    for task in dict.fromkeys(row["task"] for row in frontiers.rows):
        line = {row["alpha"]: row for row in frontiers.rows if row["task"] == task}
        taken = next((row for row in line.values() if row["chosen"]), None)
        if taken is None or 0.0 not in line or 1.0 not in line:
            continue  # an end or the choice is not finite
        both = {alpha: (row["supported"] + row["patching"]) / 2 for alpha, row in line.items()}
        ideal = (max(row["supported"] for row in line.values()) + max(row["patching"] for row in line.values())) / 2
        mine = both[taken["alpha"]]
        rows.append({
            "task": task,
            "alpha": taken["alpha"],
            "supported": taken["supported"],
            "supported change": taken["supported"] - line[0.0]["supported"],
            "patching": taken["patching"],
            "patching change": taken["patching"] - line[0.0]["patching"],
            "to optimal": ideal - max(both.values()),
            "to optimal, chosen": ideal - mine,
            "to the ends": (line[0.0]["supported"] + line[1.0]["patching"]) / 2 - mine,
        })  # fmt: skip
    return Table(tuple(rows))


@revision(1)
def broad_transfer(predictions: Annotated[Mapping[str, list[Predictions]], "reports"], splits: list[str], baseline: str) -> Table:
    """What patching on one task changes on another: one row for each model but the baseline, and each split.

    predictions: of each model, by its name, one for each split. Columns: patched (the model), task (the split), n, accuracy, change from the
    baseline on the same examples with Tango's 95 % interval. ValueError where two models answered different examples.
    """
    rows: list[dict[str, Any]] = []
    for name, answers in predictions.items():
        for split, mine, before in zip(splits, answers, predictions[baseline], strict=True):
            if name == baseline:
                continue
            if not np.array_equal(mine.ids, before.ids):
                raise ValueError(f"{name} and {baseline} answered different examples of {split}: predict both on the same data")
            known = mine.labels >= 0
            after, then, n = mine.correct[known], before.correct[known], int(known.sum())
            gap = paired(int((after & ~then).sum()), int((then & ~after).sum()), n)
            told = {"change": gap.value, "change_low": gap.low, "change_high": gap.high}
            rows.append({"patched": name, "task": split, "n": n, "accuracy": float(after.mean()), **told})
    return Table(tuple(rows))
