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

        from components.merge.threshold import BLOCK, largest

        def magnitudes(key: str, low: int, values: Sequence[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
            changes = Changes(key, low, values, self.drop)
            room = np.empty(min(BLOCK, changes.count))
            for start in range(0, changes.count, BLOCK):
                for i in range(len(changes)):
                    tau = changes(i, start, room[: changes.count - start])
                    yield i, np.abs(tau, out=tau)

        rank, least = max(1, int(exact(self.k) * scan.count / 100)), float(np.finfo(np.float64).smallest_subnormal)
        left = scan.count / self.drop.scale + 12 * scan.count**0.5 if self.drop else scan.count  # no more than that, but once in e^288
        if rank >= min(left, scan.count):
            return (least,) * (len(scan.order) - 1)
        return tuple(max(least, found) for found in largest(scan, rank, magnitudes))

    def combine(self, values: Sequence[np.ndarray], key: str, low: int, prepared: tuple[float, ...]) -> np.ndarray:
        """base + coefficient tau."""
        import numpy as np

        from components.merge.threshold import BLOCK

        scale = self.coefficient * (self.drop.scale if self.drop else 1.0) / 2
        changes = Changes(key, low, values, self.drop)
        room = np.empty((3, min(BLOCK, changes.count)))  # made once: memory of this size is given back and cleared each time
        votes = np.empty((2, room.shape[1]), np.uint8 if len(changes) < 256 else np.uint32)
        for start in range(0, changes.count, BLOCK):
            tau, total, size = room[:, : changes.count - start]
            up, down = votes[:, : len(tau)]
            for buffer in (total, size, up, down):
                buffer.fill(0)
            for i, threshold in enumerate(prepared):
                changes(i, start, tau)
                rises, falls = tau >= threshold, tau <= -threshold
                up += rises.view(np.uint8)
                down += falls.view(np.uint8)
                rises |= falls
                tau *= rises  # what is not finite stays so, and is found in the result
                total += tau
                size += np.abs(tau, out=tau)
            size += np.abs(total, out=tau)  # twice the sum of those who agree
            size *= total != 0
            np.copysign(size, total, out=size)
            size *= scale
            size /= np.maximum(np.where(total > 0, up, down), 1)
            values[0][start : start + len(tau)] += size
        return values[0]


class Changes:
    """The models' changes from the base in one slab, less what is dropped; called with (model, first value, where to write them)."""

    def __init__(self, key: str, low: int, values: Sequence[np.ndarray], drop: Drop | None) -> None:
        self.base, self.models, self.count = values[0], values[1:], len(values[0])
        self.keep = [drop.keep(i, key, low, self.count) for i in range(len(self))] if drop else []

    def __len__(self) -> int:
        return len(self.models)

    def __call__(self, i: int, start: int, out: np.ndarray) -> np.ndarray:
        import numpy as np

        stop = start + len(out)
        np.subtract(self.models[i][start:stop], self.base[start:stop], out=out)
        if self.keep:
            out *= self.keep[i][start:stop]
        return out
