"""MagMax: of several fine-tuned models, each weight takes the largest move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.types import revision
from components.weights import Blend, Checkpoint, Policy
from components.weights.coefficients import exact

if TYPE_CHECKING:
    import numpy as np

    from components.weights.scan import Scan


@revision(1)
def magmax(base: Checkpoint, models: list[Checkpoint], coefficient: float = 1.0, policy: Policy = Policy()) -> Blend:  # noqa: B008
    """base + coefficient tau, where tau_j is that of the models' moves model_j - base_j which is largest in magnitude.

    Of two moves that are equally large in opposite directions the positive one is taken. Marczak et al. 2024, arXiv:2407.06322.
    """
    if not models:
        raise ValueError("MagMax of no models: give at least one beside the base")
    facts = {"rule": "magmax", "members": list(range(len(models))), "coefficient": coefficient}
    return Blend(MagMax(float(exact(coefficient))), base, tuple(models), policy, facts)


@revision(1)
@dataclass(frozen=True)
class MagMax:
    """Each place for itself: the largest move up or down, whichever is larger."""

    coefficient: float

    def prepare(self, scan: Scan) -> None:
        """Nothing needs to be known before."""

    def combine(self, values: Sequence[np.ndarray], key: str, low: int, prepared: None) -> np.ndarray:
        """values: float64, the base first."""
        import numpy as np

        base, highest, lowest = values[0], values[1].copy(), values[1]
        for other in values[2:]:
            np.maximum(highest, other, out=highest)
            np.minimum(lowest, other, out=lowest)
        largest: np.ndarray = np.where(highest - base >= base - lowest, highest, lowest)
        return largest if self.coefficient == 1 else base + self.coefficient * (largest - base)
