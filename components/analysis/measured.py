"""What the literature reports on a task, where it is not top-1: each model on each split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from components.predictions import Predictions
from components.types import Metric, Table, revision


@revision(1)
def measured(predictions: Annotated[Mapping[str, list[Predictions]], "reports"], splits: list[str], metric: Metric) -> Table:
    """One row for each model and split: the metric, the examples that it is over, and the value with its 95 % interval.

    predictions: of each model, by its name, one for each split. ValueError where a model has another number of them.
    """
    rows: list[dict[str, Any]] = []
    for model, answers in predictions.items():
        if len(answers) != len(splits):
            raise ValueError(f"{model} has {len(answers)} predictions for {len(splits)} splits: give one for each")
        for split, each in zip(splits, answers, strict=True):
            score = metric(each, split)
            interval = {"value": score.value, "value_low": score.low, "value_high": score.high}
            rows.append({"model": model, "split": split, "metric": score.metric, "n": score.n, **interval})
    return Table(tuple(rows))
