"""Task analogies: a is to b as c is to the result."""

from __future__ import annotations

from typing import Annotated

from components.merge.coefficient import GRID, finite, grid, trace
from components.types import Dataset, Run, maps, revision
from components.weights import Checkpoint, Combination, Policy


@maps
@revision(1)
def analogy(a: Checkpoint, b: Checkpoint, c: Checkpoint, coefficient: float = 1.0, policy: Policy = Policy()) -> Combination:  # noqa: B008
    """c + coefficient (b - a): a is to b as c is to the result, without data for it. Ilharco et al. 2023, arXiv:2212.04089.

    Where a is b it is c, byte for byte; the sign is that of tau_d = tau_c + (tau_b - tau_a).

    coefficient: 0 is c
    """
    return (c + coefficient * (b - a)).under(policy).describe(rule="analogy", coefficient=coefficient)


@maps
@revision(1)
def chosen_analogy(
    models: list[Checkpoint],
    data: Annotated[Dataset, "selects"],
    head: Checkpoint,
    coefficients: tuple[float, ...] = GRID,
    policy: Policy = Policy(),  # noqa: B008
    *,
    run: Run,
) -> Combination:
    """The analogy of a, b and c whose coefficient answers most of `data` correctly, with the classifier of `head`; ties go to the smallest.

    models: a, b, c. A coefficient without finite answers is passed over; ValueError where all are. Facts: the whole trace.
    """
    if len(models) != 3:
        raise ValueError(f"an analogy of {len(models)} models: give three, so that the first is to the second as the third is to the result")
    a, b, c = models
    tried = grid(lambda each: analogy(a, b, c, each, policy), coefficients, [data], [head], run)
    coefficient = max(finite(tried), key=lambda one: one[1].correct[0])[0]
    return analogy(a, b, c, coefficient, policy).describe(rule="chosen_analogy", trace=trace(tried))
