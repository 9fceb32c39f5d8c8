"""WiSE-FT where each weight goes as far as both models' Fisher information says."""

from __future__ import annotations

from components.merge.fisher import fisher_merge
from components.merge.wise_ft import wise_ft
from components.types import revision
from components.weights import Blend, Checkpoint, Combination, Policy
from components.weights.coefficients import exact
from components.weights.statistics import Statistics


@revision(1)
def fisher_wise_ft(
    zero_shot: Checkpoint, tuned: Checkpoint, statistics: list[Statistics], alpha: float, policy: Policy = Policy()  # noqa: B008
) -> Blend | Combination:
    """(c0 zero_shot + c1 tuned) / (c0 + c1), elementwise, with c0 = (1 - alpha) F0 and c1 = alpha F1; alpha 0 and 1 are byte copies.

    statistics: what `fisher` gave for the two; F is no smaller than 1e-8, and tensors without it are on the straight line. A later variant in
    the authors' code of Wortsman et al. 2021, arXiv:2109.01903. ValueError for an alpha outside of [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha = {alpha}: weights by Fisher information are a mean, give 0 (zero-shot) to 1 (fine-tuned)")
    if alpha in (0, 1):
        return wise_ft(zero_shot, tuned, alpha, policy)
    weights = [float(1 - exact(alpha)), float(alpha)]
    return fisher_merge([zero_shot, tuned], statistics, weights, policy).describe(rule="fisher_wise_ft", alpha=alpha)
