"""TIES: small changes are trimmed, each weight elects a sign, and only those who agree are averaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.merge.drop import Drop
from components.types import revision
from components.weights import Blend, Checkpoint, Policy
from components.weights.coefficients import exact

if TYPE_CHECKING:
    import numpy as np

    from components.weights.scan import Scan


@revision(1)
def ties(base: Checkpoint, models: list[Checkpoint], k: float = 20.0, coefficient: float = 1.0, policy: Policy = Policy()) -> Blend:  # noqa: B008
    """base + coefficient tau, where tau_j is the mean of the trimmed tau_ij whose sign is that of their sum. Yadav et al. 2023, arXiv:2306.01708.

    tau_i = models_i - base over all averaged tensors; trimming keeps the k % of largest magnitude, one threshold for the whole of each
    tau_i, found exactly; those equal to it are kept. Where the trimmed tau_ij sum to 0, the base's value stays.
    """
    return trimmed(base, models, k, coefficient, policy, None).describe(rule="ties")


def trimmed(base: Checkpoint, models: list[Checkpoint], k: float, coefficient: float, policy: Policy, drop: Drop | None) -> Blend:
    """TIES of models, or of what is left after elements were dropped."""
    if not models:
        raise ValueError("TIES of no models: give at least one beside the base")
    if not 0 < k <= 100:
        raise ValueError(f"k = {k}: the share of each model's changes that is kept is more than 0 and at most 100 percent")
    facts = {"members": list(range(len(models))), "k": k, "coefficient": coefficient}
    return Blend(Trimmed(float(k), float(exact(coefficient)), drop), base, tuple(models), policy, facts)


@revision(1)
@dataclass(frozen=True)
class Trimmed:
    """Trim, elect, average where the signs agree: Yadav et al. 2023, arXiv:2306.01708."""

    k: float
    coefficient: float
    drop: Drop | None = None

    def prepare(self, scan: Scan) -> tuple[float, ...]:
        """The magnitude from which on a change is kept, for each model; never 0, so that no change is never a vote."""
        import numpy as np

        from components.merge.threshold import largest

        def magnitudes(key: str, low: int, values: Sequence[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
            for _, _, changes in blocks(key, low, values, self.drop):
                for i, tau in enumerate(changes):
                    yield i, np.abs(tau, out=tau)

        rank, least = max(1, int(exact(self.k) * scan.count / 100)), float(np.finfo(np.float64).smallest_subnormal)
        if rank == scan.count:
            return (least,) * (len(scan.order) - 1)
        return tuple(max(least, found) for found in largest(scan, rank, magnitudes))

    def combine(self, values: Sequence[np.ndarray], key: str, low: int, prepared: tuple[float, ...]) -> np.ndarray:
        """base + coefficient tau."""
        import numpy as np

        scale = self.coefficient * (self.drop.scale if self.drop else 1.0)
        few = np.uint8 if len(values) < 256 else np.uint32
        for start, stop, changes in blocks(key, low, values, self.drop):
            total, size, scratch = np.zeros((3, stop - start))
            kept, positive = np.zeros((2, stop - start), few)
            for tau, threshold in zip(changes, prepared, strict=True):
                keep = np.abs(tau, out=scratch) >= threshold
                tau *= keep  # what is not finite stays so, and is found in the result
                total += tau
                size += np.abs(tau, out=scratch)
                kept += keep.view(np.uint8)
                positive += (tau > 0).view(np.uint8)
            voters = np.where(total > 0, positive, kept - positive)
            agreed = np.copysign(size + np.abs(total), total)  # twice the sum of those who agree
            agreed *= total != 0
            agreed *= scale / 2
            agreed /= np.maximum(voters, 1)
            values[0][start:stop] += agreed
        return values[0]


def blocks(
    key: str, low: int, values: Sequence[np.ndarray], drop: Drop | None
) -> Iterator[tuple[int, int, Iterator[np.ndarray]]]:
    """(start, stop, each model's changes there), overwriting the models' values, in blocks that stay in cache."""
    import numpy as np

    from components.merge.threshold import BLOCK

    count = len(values[0])
    keep = [drop.keep(i, key, low, count) for i in range(len(values) - 1)] if drop else []

    def changes(start: int, stop: int) -> Iterator[np.ndarray]:
        for i, model in enumerate(values[1:]):
            tau = np.subtract(model[start:stop], values[0][start:stop], out=model[start:stop])
            if drop:
                tau *= keep[i][start:stop]
            yield tau

    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        yield start, stop, changes(start, stop)
