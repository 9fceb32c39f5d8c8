"""DARE: most of what fine-tuning changed is dropped at random and the rest scaled up; less is left to interfere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from components.merge.drop import Drop
from components.merge.ties import Changes, trimmed
from components.types import revision
from components.weights import Blend, Checkpoint, Combination, Policy, mean
from components.weights.coefficients import exact

if TYPE_CHECKING:
    import numpy as np

    from components.weights.scan import Scan


@revision(1)
def dare(
    base: Checkpoint,
    models: list[Checkpoint],
    p: float = 0.9,
    seed: int = 0,
    coefficient: float = 1.0,
    method: Literal["linear", "ties"] = "linear",
    k: float = 20.0,
    policy: Policy = Policy(),  # noqa: B008
) -> Blend | Combination:
    """Each element of tau_i = models_i - base is dropped with probability p, the others divided by 1 - p. Yu et al. 2024, arXiv:2311.03099.

    Then `linear`, base + coefficient mean_i tau_i, or `ties` with `k` (of all elements, the dropped ones too). At p = 0 it is the plain
    method. p is rounded to a multiple of 2^-16, and the division is by what was rounded. The same models and seed drop the same elements.
    """
    if not models:
        raise ValueError("DARE of no models: give at least one beside the base")
    if not 0 <= p < 1:
        raise ValueError(f"p = {p}: the probability that an element is dropped is at least 0 and less than 1")
    if method not in ("linear", "ties"):
        raise ValueError(f"method is linear or ties, not {method!r}")
    drop = Drop(float(p), seed, tuple(sorted(one.digest for one in models)))
    facts = {"rule": "dare", "members": list(range(len(models))), "p": p, "seed": seed, "coefficient": coefficient, "method": method}
    if method == "ties":
        return trimmed(base, models, k, coefficient, policy, drop if p else None).describe(**facts)
    if not p:
        return (base + coefficient * (mean(models) - base)).under(policy).describe(**facts)
    return Blend(Dropped(drop, float(exact(coefficient))), base, tuple(models), policy, facts)


@revision(1)
@dataclass(frozen=True)
class Dropped:
    """The mean of what is left: Yu et al. 2024, arXiv:2311.03099."""

    drop: Drop
    coefficient: float

    def prepare(self, scan: Scan) -> None:
        """Every slab is a matter of its own."""

    def combine(self, values: Sequence[np.ndarray], key: str, low: int, prepared: None) -> np.ndarray:
        """base + coefficient mean_i tau_i."""
        import numpy as np

        from components.merge.threshold import BLOCK

        changes, scale = Changes(key, low, values, self.drop), self.coefficient * self.drop.scale / (len(values) - 1)
        room = np.empty((2, min(BLOCK, changes.count)))
        for start in range(0, changes.count, BLOCK):
            tau, total = room[:, : changes.count - start]
            total.fill(0)
            for i in range(len(changes)):
                total += changes(i, start, tau)
            total *= scale
            values[0][start : start + len(tau)] += total
        return values[0]
