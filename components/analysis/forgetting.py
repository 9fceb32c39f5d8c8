"""Forgetting: what is left of a target task, and what the rest paid for it (the table of Ilharco et al. 2023, arXiv:2212.04089)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from components.analysis.intervals import Outcomes, mean_accuracy
from components.predictions import Predictions
from components.types import Table, revision
from components.weights import Checkpoint

MEAN = "mean of targets"


@revision(1)
def forgetting(
    target: Annotated[Mapping[str, list[Predictions]], "reports"],
    control: Annotated[Mapping[str, list[Predictions]], "reports"],
    models: Mapping[str, list[Checkpoint]],
    methods: list[str],
) -> Table:
    """One row for each method's mean over the targets, where there are several, and for each target and method.

    By the target's name: the answers of each method's model on the target's and on the control's test data, and the models, whose facts
    say the coefficient where one was chosen. Columns: target, method, coefficient; target_accuracy and control_accuracy with low and high;
    kept: the control's accuracy as a part of that of the first method, which is the model before.
    """
    rows = []
    for m, method in enumerate(methods if len(target) > 1 else []):
        rows.append(_row(MEAN, method, None, *([each[k] for each in part.values()] for part, k in ((target, m), (control, m), (control, 0)))))
    for name, answers in target.items():
        for m, method in enumerate(methods):
            facts = models[name][m].spec.get("facts") or {}
            chosen = facts.get("coefficient") if facts.get("rule") == "negation" else None
            rows.append(_row(name, method, chosen, [answers[m]], [control[name][m]], [control[name][0]]))
    return Table(tuple(rows), ("Wilson 95 % intervals; those of a mean are clustered by example, since one control serves every target.",))


def _row(
    name: str, method: str, coefficient: float | None, target: Sequence[Predictions], control: Sequence[Predictions], before: Sequence[Predictions]
) -> dict[str, Any]:
    here, there, first = (mean_accuracy([_outcomes(each) for each in part]) for part in (target, control, before))
    return {
        "target": name, "method": method, "coefficient": coefficient,
        "target_accuracy": here.value, "target_accuracy_low": here.low, "target_accuracy_high": here.high,
        "control_accuracy": there.value, "control_accuracy_low": there.low, "control_accuracy_high": there.high,
        "kept": there.value / first.value if first.value else None,
    }  # fmt: skip


def _outcomes(predictions: Predictions) -> Outcomes:
    known = predictions.labels >= 0
    return predictions.ids[known], predictions.correct[known].astype(int)
