"""WiSE-FT: the straight line between a zero-shot model and its fine-tuned self."""

from __future__ import annotations

from components.types import maps, revision
from components.weights import Checkpoint, Combination, Policy


@maps
@revision(1)
def wise_ft(zero_shot: Checkpoint, tuned: Checkpoint, alpha: float, policy: Policy = Policy()) -> Combination:  # noqa: B008
    """(1 - alpha) zero_shot + alpha tuned over all tensors, the head included; alpha 0 and 1 are byte copies.

    Rows of the interpolated head are not normalised again. Wortsman et al. 2021, arXiv:2109.01903.
    """
    line = zero_shot + alpha * (tuned - zero_shot)
    return line.under(policy).describe(rule="wise_ft", alpha=alpha)
