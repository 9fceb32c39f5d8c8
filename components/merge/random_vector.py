"""A random direction as long as a task vector: the control of every claim about directions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.types import revision
from components.weights import Blend, Checkpoint, Combination, Policy
from components.weights.coefficients import exact

if TYPE_CHECKING:
    import numpy as np

    from components.weights.scan import Scan

BLOCK = 1 << 16  # values at once, an even number


@revision(1)
def random_vector(
    base: Checkpoint, model: Checkpoint, coefficient: float = 1.0, seed: int = 0, policy: Policy = Policy()  # noqa: B008
) -> Blend | Combination:
    """base + coefficient v, where v is Gaussian and in each tensor as long as model - base. Ilharco et al. 2023, arXiv:2212.04089.

    A tensor that did not move stays as it is. coefficient 0 is a byte copy of the base.

    seed: of the direction
    """
    facts = {"rule": "random_vector", "coefficient": coefficient, "seed": seed}
    if not coefficient:
        return base.combination().under(policy).describe(**facts)
    return Blend(Gaussian(float(exact(coefficient)), seed, model.digest), base, (model,), policy, facts)


@revision(1)
@dataclass(frozen=True)
class Gaussian:
    """Element e of a tensor is number e of a normal stream that is seeded by sha256 of (seed, the model's digest, the tensor's name).

    PCG64DXSM jumps to any place of it, so that neither slabs nor threads can show.
    """

    coefficient: float
    seed: int
    model: str  # its digest

    def prepare(self, scan: Scan) -> dict[str, float]:
        """What to multiply each tensor's stream by."""
        import numpy as np

        def visit(key: str, low: int, values: Sequence[np.ndarray]) -> tuple[str, np.ndarray]:
            move = values[1] - values[0]
            drawn = sum(float(block @ block) for _, block in self.blocks(key, low, len(move)))
            return key, np.array([move @ move, drawn])

        squares: dict[str, np.ndarray] = {}
        for key, found in scan(visit):
            squares[key] = squares.get(key, 0) + found
        # rounded: how a sum was cut into slabs shows in its last bits
        return {key: float(np.float32(np.sqrt(move / drawn))) if drawn else 0.0 for key, (move, drawn) in squares.items()}

    def combine(self, values: Sequence[np.ndarray], key: str, low: int, prepared: dict[str, float]) -> np.ndarray:
        """base + coefficient v."""
        if prepared[key]:
            for start, block in self.blocks(key, low, len(values[0])):
                block *= self.coefficient * prepared[key]
                values[0][start : start + len(block)] += block
        return values[0]

    def blocks(self, key: str, low: int, count: int) -> Iterator[tuple[int, np.ndarray]]:
        """(place among these `count` elements, a block of the tensor's stream) from element `low` on; each pair of words makes a pair of normals."""
        import numpy as np

        name, first = f"{self.seed}\n{self.model}\n{key}", low - low % 2
        stream = np.random.PCG64DXSM(int.from_bytes(hashlib.sha256(name.encode()).digest(), "little"))
        stream.advance(first)
        for at in range(first, low + count, BLOCK):
            inside = min(BLOCK, low + count - at)
            words = stream.random_raw(inside + inside % 2) >> 11
            radius, angle = np.sqrt(-2 * np.log((words[0::2] + 1) * 2.0**-53)), (2 * np.pi * 2.0**-53) * words[1::2]
            drawn = np.empty(len(words))
            drawn[0::2], drawn[1::2] = radius * np.cos(angle), radius * np.sin(angle)
            skip = max(0, low - at)
            yield at + skip - low, drawn[skip:inside]
