"""Normalised accuracy: what a model of several tasks keeps of the models that know one task each (arXiv:2212.04089)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np

from components.analysis.intervals import Estimate
from components.predictions import Predictions
from components.types import DataError, Table, revision
from components.weights import Checkpoint

DRAWS = 2000


@revision(1)
def additions(
    merged: Annotated[Mapping[str, list[Predictions]], "reports"],
    singles: Annotated[Mapping[str, list[Predictions]], "reports"],
    before: Annotated[Mapping[str, list[Predictions]], "reports"],
    models: Mapping[str, Checkpoint],
) -> Table:
    """One row for each sum of task vectors: its coefficient and its mean normalised accuracy, beside that of the model before fine-tuning.

    By the name of the sum, in each: answers of the merged model on its tasks' test data, of the tasks' own fine-tuned models, of the
    zero-shot model, and the merged model itself, whose facts say the coefficient. Columns: tasks, coefficient, normalised with low and
    high, zero_shot with low and high, worst: the task that keeps least.
    """
    rows = []
    for name, answers in merged.items():
        after, zero = (normalised(each, singles[name]) for each in (answers, before[name]))
        worst = min(normalised([one], [own]).value for one, own in zip(answers, singles[name], strict=True))
        rows.append(
            {
                "tasks": name, "coefficient": (models[name].spec.get("facts") or {}).get("coefficient"),
                "normalised": after.value, "normalised_low": after.low, "normalised_high": after.high, "worst": worst,
                "zero_shot": zero.value, "zero_shot_low": zero.low, "zero_shot_high": zero.high,
            }
        )  # fmt: skip
    return Table(tuple(rows), ("Normalised: accuracy over that of the task's own fine-tuned model, the mean of the tasks; percentile bootstrap.",))


def normalised(answers: Sequence[Predictions], singles: Sequence[Predictions]) -> Estimate:
    """The mean over tasks of correct / correct of the task's own model, with a 95 % percentile bootstrap over examples (2,000 draws, seed 0).

    Both models answer the same examples of a task: they are drawn together. ValueError where a task's own model is never right.
    """
    rng, value, drawn = np.random.default_rng(0), 0.0, np.zeros(DRAWS)
    for one, own in zip(answers, singles, strict=True):
        if not np.array_equal(one.ids, own.ids):
            raise DataError("a merged model and a task's own model answered different examples: predict both on the same data")
        right, alone = one.correct.astype(int), own.correct.astype(int)
        if not alone.any():
            raise ValueError("a task's own model has no correct answer: nothing can be normalised by it")
        cells = np.bincount(2 * right + alone, minlength=4) / len(alone)  # neither, own alone, merged alone, both
        counts = rng.multinomial(len(alone), cells, DRAWS)
        value += float(right.sum() / alone.sum()) / len(answers)
        drawn += (counts[:, 2] + counts[:, 3]) / np.maximum(counts[:, 1] + counts[:, 3], 1) / len(answers)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(value, min(value, float(low)), max(value, float(high)))
