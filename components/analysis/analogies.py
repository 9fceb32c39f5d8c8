"""A task analogy as a table: the result on the fourth task, beside what it was made of (arXiv:2212.04089)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from components.analysis.intervals import paired
from components.metrics import Top1
from components.predictions import Predictions
from components.types import DataError, Table, revision
from components.weights import Checkpoint


@revision(1)
def analogies(answers: Annotated[Mapping[str, Predictions], "reports"], models: Mapping[str, Checkpoint], baseline: str) -> Table:
    """One row for each model on one test set: coefficient where it was chosen, accuracy with low and high, the paired difference to `baseline`."""
    rows, first = [], answers[baseline]
    for name, one in answers.items():
        if list(one.ids) != list(first.ids):
            raise DataError(f"{name} and {baseline} answered different examples: predict both on the same data")
        top1, facts = Top1()(one), models[name].spec.get("facts") or {}
        gap = paired(int((one.correct & ~first.correct).sum()), int((first.correct & ~one.correct).sum()), len(one))
        rows.append(
            {
                "model": name, "coefficient": facts.get("coefficient") if facts.get("rule") == "chosen_analogy" else None,
                "accuracy": top1.value, "accuracy_low": top1.low, "accuracy_high": top1.high,
                **dict(zip(("difference", "difference_low", "difference_high"), gap if name != baseline else (None,) * 3, strict=False)),
            }
        )  # fmt: skip
    return Table(tuple(rows), (f"Wilson 95 % intervals; differences to {baseline} are paired by example (Tango's interval).",))
