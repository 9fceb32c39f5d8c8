"""Forgetting by negation: a task vector is taken away as far as a control task allows."""

from __future__ import annotations

from typing import Annotated

from components.merge.arithmetic import arithmetic
from components.merge.coefficient import GRID, Tried, finite, grid, trace
from components.types import Dataset, Run, maps, revision
from components.weights import Checkpoint, Combination, Policy
from components.weights.coefficients import exact


@maps
@revision(1)
def negation(
    base: Checkpoint,
    model: Checkpoint,
    data: Annotated[list[Dataset], "selects"],
    heads: list[Checkpoint],
    coefficients: tuple[float, ...] = GRID,
    keep: float = 0.95,
    policy: Policy = Policy(),  # noqa: B008
    *,
    run: Run,
) -> Combination:
    """base - coefficient (model - base): the fewest correct answers on the target while the control keeps its share. arXiv:2212.04089.

    data: held-out sets of the target and of the control; heads: the models whose classifiers answer on them. A coefficient is feasible
    where the control count is at least `keep` times that of the base, compared as exact fractions. Ties go to the smallest coefficient.
    One without finite answers is passed over. ValueError where none is feasible. Facts: the coefficient, the base's counts, the trace.

    keep: the share of the base's correct answers on the control that must remain
    """
    if len(data) != 2 or not 0 <= keep <= 1:
        raise ValueError(f"negation takes two held-out sets, target and control, and keep in [0, 1]; got {len(data)} sets, keep {keep}")
    wanted = sorted(set(map(float, coefficients)))
    tried = grid(lambda each: arithmetic(base, [model], -each, policy), (0.0, *wanted), data, heads, run)  # at 0 the base, on the same path
    before = next(tally for coefficient, tally in tried if coefficient == 0)
    if before.error:
        raise ValueError(f"the base itself has no finite answers: {before.error}")
    found = least([one for one in tried if one[0] in wanted], before.correct[1], keep)
    facts = {"coefficient": found, "keep": keep, "before": list(before.correct), "trace": trace(tried)}
    return arithmetic(base, [model], -found, policy).describe(**{"rule": "negation", **facts})


def least(tried: Tried, control: int, keep: float) -> float:
    """The coefficient with the fewest correct answers on the target among those with at least `keep` of `control` on the control."""
    needed = exact(keep) * control
    feasible = [(coefficient, tally) for coefficient, tally in finite(tried) if tally.correct[1] >= needed]
    if not feasible:
        most = max(tally.correct[1] for _, tally in finite(tried))
        told = f"no coefficient keeps {keep} of the control's {control} correct answers (the most that is kept is {most})"
        raise ValueError(f"{told}: try smaller coefficients, or lower keep")
    return min(feasible, key=lambda one: one[1].correct[0])[0]
