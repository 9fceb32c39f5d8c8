"""The uniform soup."""

from __future__ import annotations

from components.types import maps, revision
from components.weights import Checkpoint, Combination, Policy, mean


@maps
@revision(1)
def uniform(models: list[Checkpoint], policy: Policy = Policy()) -> Combination:  # noqa: B008
    """The mean of all models. Wortsman et al. 2022, arXiv:2203.05482."""
    return mean(models, policy).describe(rule="uniform", members=list(range(len(models))))
