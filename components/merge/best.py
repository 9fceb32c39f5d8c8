"""The best single model on held-out data: what every merge is compared with."""

from __future__ import annotations

from typing import Annotated

from components.merge.search import ranked
from components.predictions import Predictions
from components.types import revision
from components.weights import Checkpoint, Combination, mean


@revision(1)
def best(models: list[Checkpoint], predictions: Annotated[list[Predictions], "selects"]) -> Combination:
    """The model with the most correct answers in `predictions` (one entry a model), byte for byte; ties go to the earlier one."""
    order, counts = ranked(models, predictions)
    return mean([models[order[0]]]).describe(rule="best", members=order[:1], correct=counts, n=len(predictions[0]))
