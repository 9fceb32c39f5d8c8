"""LiNeS: task vectors whose shallow layers move less than their deep ones."""

from __future__ import annotations

from fractions import Fraction

from components.types import maps, revision
from components.weights import Checkpoint, Combination, Policy


@maps
@revision(1)
def lines(base: Checkpoint, models: list[Checkpoint], alpha: float, beta: float, policy: Policy = Policy()) -> Combination:  # noqa: B008
    """LiNeS: task vectors of which shallow layers keep less than deep ones.

    base + the sum of (alpha + beta (l - 1) / (L - 1)) (model - base) at block l of L. Each tower has its own blocks, read from the names of
    its tensors; embeddings count as its first, what follows the blocks and the head as its last. Wang et al. 2024, arXiv:2410.17146.

    alpha: the part that the first block keeps of its move
    beta: how much more the last block keeps; 0 is task arithmetic
    """
    from components.weights.coefficients import exact
    from components.weights.depth import depths, layer

    if not models:
        raise ValueError("LiNeS of no models: give at least one")
    deep = depths(key for part in base.parts.values() for key in part.layout)
    low, slope = exact(alpha), exact(beta)
    scale: dict[str, Fraction] = {}
    for key, depth in deep.items():
        if depth < 1:
            name = layer(key).name
            scale[f"{name}.*" if key.startswith(f"{name}.") else key] = low + slope * depth
    moved = sum(models[1:], start=models[0].combination()) - len(models) * base
    scaled = base + moved * ({**scale, "*": low + slope} if slope else low)
    return scaled.under(policy).describe(rule="lines", alpha=alpha, beta=beta, models=len(models))
