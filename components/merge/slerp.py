"""SLERP: from one model to another along the arc between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.types import revision
from components.weights import Blend, Checkpoint, Combination, Policy, mean
from components.weights.blend import Method

if TYPE_CHECKING:
    import numpy as np

    from components.weights.scan import Scan

STRAIGHT = 0.9995  # beyond this cosine, arc and chord are the same in float32, and sin(omega) is small


@revision(1)
@dataclass(frozen=True)
class Slerp(Method):
    """sin((1 - t) omega) / sin(omega) a + sin(t omega) / sin(omega) b for each tensor, omega the angle of a and b; a line where there is none."""

    t: float = 0.5

    def prepare(self, scan: Scan) -> dict[str, tuple[float, ...]]:
        """The weights of the two models for each tensor, in the order of the values."""
        from components.weights.geometry import scanned

        weights = {key: self.weights(gram) for key, gram in scanned(scan).items()}
        return {key: tuple(pair[i] for i in scan.order) for key, pair in weights.items()}

    def weights(self, gram: np.ndarray) -> tuple[float, float]:
        """Those of a and b, from their inner products [2, 2]."""
        from components.weights.geometry import cosines

        cosine = float(cosines(gram)[0, 1])
        if abs(cosine) > STRAIGHT or not gram[0, 0] or not gram[1, 1]:
            return 1 - self.t, self.t
        omega = math.acos(cosine)
        return math.sin((1 - self.t) * omega) / math.sin(omega), math.sin(self.t * omega) / math.sin(omega)

    def combine(self, values: Sequence[np.ndarray], key: str, low: int, prepared: Any) -> np.ndarray:
        one, other = values
        one *= prepared[key][0]
        other *= prepared[key][1]
        one += other
        return one


@revision(1)
def slerp(models: list[Checkpoint], t: float = 0.5, policy: Policy = Policy()) -> Blend | Combination:  # noqa: B008
    """SLERP: from one model to another along an arc, tensor by tensor, which keeps the norm of weights of equal norm.

    ValueError where there are not two models, or t is not in [0, 1]. Shoemake 1985, doi:10.1145/325334.325242.

    t: 0 is the first model, 1 the second, both byte copies
    """
    if len(models) != 2 or not 0 <= t <= 1:
        raise ValueError(f"slerp takes two models and t in [0, 1], got {len(models)} models, t {t}; for a mean of more say uniform")
    ends = mean([models[int(t)]], policy) if t in (0, 1) else Blend(Slerp(t), None, tuple(models), policy)
    return ends.describe(rule="slerp", t=t)
