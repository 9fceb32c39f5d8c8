"""Task arithmetic: what fine-tuning did to a model as a vector that is added, or taken away."""

from __future__ import annotations

from components.types import maps, revision
from components.weights import Checkpoint, Combination, Policy


@maps
@revision(1)
def arithmetic(base: Checkpoint, models: list[Checkpoint], coefficient: float, policy: Policy = Policy()) -> Combination:  # noqa: B008
    """base + coefficient times the sum of all (model - base): several tasks in one model. Ilharco et al. 2023, arXiv:2212.04089.

    Coefficients are exact: 0 is a byte copy of the base, 1 of one model is that model, 1 / n of n is their uniform soup.

    coefficient: of each task vector; negative ones make the model forget the tasks
    """
    if not models:
        raise ValueError("task arithmetic with no models: give at least one beside the base")
    moved = sum(models[1:], start=models[0].combination()) - len(models) * base
    return (base + coefficient * moved).under(policy).describe(rule="arithmetic", coefficient=coefficient, models=len(models))
