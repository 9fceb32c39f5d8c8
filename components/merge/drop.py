"""Which elements DARE keeps: a pure function of seed, model, tensor and element."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.types import revision

if TYPE_CHECKING:
    import numpy as np

WHOLE = 1 << 16


@revision(1)
@dataclass(frozen=True)
class Drop:
    """Each element is dropped with probability `p`, rounded to a multiple of 2^-16; `scale` undoes exactly that in expectation.

    Element e of a tensor owns the 16 bits number e of a stream (PCG64DXSM, which jumps to any place) that is seeded by sha256 of
    (seed, the model's digest, the tensor's name): neither the order of the models, nor slabs, nor threads can show.
    """

    p: float
    seed: int
    models: tuple[str, ...]  # digests, sorted

    @property
    def cut(self) -> int:
        return min(round(self.p * WHOLE), WHOLE - 1)

    @property
    def scale(self) -> float:
        """1 / (1 - p)."""
        return WHOLE / (WHOLE - self.cut)

    def keep(self, i: int, key: str, low: int, count: int) -> np.ndarray:
        """bool [count]: the elements of model i that stay, from number `low` of the tensor on."""
        import numpy as np

        name = f"{self.seed}\n{self.models[i]}\n{key}"
        stream = np.random.PCG64DXSM(int.from_bytes(hashlib.sha256(name.encode()).digest(), "little"))
        stream.advance(low // 4)
        words = stream.random_raw((low + count + 3) // 4 - low // 4).astype("<u8", copy=False)
        kept: np.ndarray = words.view("<u2")[low % 4 : low % 4 + count] >= self.cut
        return kept
