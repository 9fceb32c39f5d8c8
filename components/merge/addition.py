"""Learning by addition: one coefficient for the sum of all task vectors."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

from components.merge.arithmetic import arithmetic
from components.merge.coefficient import GRID, Tried, finite, grid, trace
from components.predictions import Predictions
from components.types import Dataset, Run, maps, revision
from components.weights import Checkpoint, Combination, Policy


@maps
@revision(1)
def addition(
    base: Checkpoint,
    models: list[Checkpoint],
    data: Annotated[list[Dataset], "selects"],
    heads: list[Checkpoint],
    singles: Annotated[list[Predictions], "selects"],
    coefficients: tuple[float, ...] = GRID,
    policy: Policy = Policy(),  # noqa: B008
    *,
    run: Run,
) -> Combination:
    """base + coefficient times the sum of all (model - base), with the best mean normalised accuracy. arXiv:2212.04089.

    data: a held-out set of each task; heads: the model whose classifier answers on it; singles: the answers of the task's own fine-tuned
    model. Normalised: the count of correct answers over that of the task's own model, as an exact fraction. Ties go to the smallest
    coefficient; one without finite answers is passed over; ValueError where all are. models: may be one that is a merge already, and the
    coefficient then goes from the base through it. Facts: the coefficient, the counts of the tasks' own models, the trace.
    """
    if len(singles) != len(data):
        raise ValueError(f"{len(data)} held-out sets and {len(singles)} answers of the tasks' own models: give one for each")
    alone = [int(one.summary()["correct"]) for one in singles]
    tried = grid(lambda each: arithmetic(base, models, each, policy), coefficients, data, heads, run)
    found = most(tried, alone)
    return arithmetic(base, models, found, policy).describe(**{"rule": "addition", "singles": alone, "trace": trace(tried)})


def most(tried: Tried, alone: Sequence[int]) -> float:
    """The smallest of the coefficients with the largest sum of correct / alone."""
    if not all(alone):
        raise ValueError(f"a task's own model has no correct answer on its held-out set ({list(alone)}), to normalise by: train it longer")
    return max(finite(tried), key=lambda one: sum(Fraction(n, own) for n, own in zip(one[1].correct, alone, strict=True)))[0]
