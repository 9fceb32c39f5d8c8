"""Model Stock: how far to trust the mean of a few fine-tuned models, from the angle between their moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.types import revision
from components.weights import Blend, Checkpoint, Policy
from components.weights.blend import Method

if TYPE_CHECKING:
    import numpy as np

    from components.weights.scan import Scan


@revision(1)
@dataclass(frozen=True)
class ModelStock(Method):
    """Tensor by tensor base + t mean(model - base), t = N c / (1 + (N - 1) c), c the mean cosine between two of the N moves.

    A negative c counts as 0: the formula's t would leave the segment from the base to the mean.
    """

    def prepare(self, scan: Scan) -> dict[str, float]:
        """t for each tensor."""
        from components.weights.geometry import moves, scanned

        return {key: self.ratio(gram) for key, gram in scanned(scan, moves).items()}

    def ratio(self, gram: np.ndarray) -> float:
        """t, from the inner products of the moves [N, N]; one model is its own mean."""
        from components.weights.geometry import cosines

        n = len(gram)
        if n == 1:
            return 1.0
        angles = cosines(gram)
        c = max(0.0, float(angles.sum() - angles.trace()) / (n * (n - 1)))
        return n * c / (1 + (n - 1) * c)

    def combine(self, values: Sequence[np.ndarray], key: str, low: int, prepared: Any) -> np.ndarray:
        t, (base, total, *rest) = prepared[key], values
        for other in rest:
            total += other
        total /= len(rest) + 1
        if t == 1:
            return total
        total *= t
        base *= 1 - t
        total += base
        return total


@revision(1)
def model_stock(base: Checkpoint, models: list[Checkpoint], policy: Policy = Policy()) -> Blend:  # noqa: B008
    """Model Stock: between the base and the mean of the models, the nearer to the mean the more alike they moved, tensor by tensor.

    Moves in one direction give the mean, moves at right angles the base. Jang et al. 2024, arXiv:2403.19522.
    """
    if not models:
        raise ValueError("Model Stock of no models: give two or more")
    return Blend(ModelStock(), base, tuple(models), policy).describe(rule="model_stock", models=len(models))
