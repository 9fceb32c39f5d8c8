"""Ten capital letters in many typefaces: a task beside the digits that the corpus of the base model does not hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from components.types import Dataset, Examples, Run, revision

if TYPE_CHECKING:
    from components.data.examples import Rows


@revision(1)
@dataclass(frozen=True)
class Letters(Dataset):
    """Images of 32 x 32 of a letter, drawn from (seed, index) as `Rendered` draws its digits: the first n of an endless sequence.

    style: `plain` is white on black, upright, without noise, blur and pixelation; `mixed` is half so, half in colours, on five kinds of background.
    """

    n: int = 1500
    seed: int = 0
    style: Literal["mixed", "plain"] = "mixed"

    def __post_init__(self) -> None:
        if self.n < 1 or self.seed < 0:
            raise ValueError(f"Letters: n = {self.n}, seed = {self.seed}; n is at least 1 and the seed at least 0")

    def open(self, run: Run) -> Examples:
        """The examples, rendered by the first process of the node that asks."""
        from components.data.cache import cached

        return cached(run, f"letters-{self.sequence()[:16]}-{self.n}", self._render, self._load)

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((replace(self, n=1), 0.0, 1.0),)  # one root for every length

    def sequence(self) -> str:
        """The identity of the endless sequence that this is the beginning of."""
        from components.data.examples import combined

        return combined("Letters", type(self).__revision__, asdict(replace(self, n=1)))  # type: ignore[attr-defined]

    def _render(self, folder: str) -> None:
        import numpy as np

        from components.data.microworld import renderer

        recipe = renderer.Recipe((("letters", 1.0),), plain=self.style == "plain")
        drawn = [renderer.chunk(recipe, self.seed, index) for index in range(-(-self.n // renderer.CHUNK))]
        for place, name in enumerate(("pixels", "labels")):
            np.save(os.path.join(folder, f"{name}.npy"), np.concatenate([chunk[place] for chunk in drawn])[: self.n])

    def _load(self, folder: str) -> Rows:
        import numpy as np

        from components.data.examples import Rows, combined
        from components.data.microworld import atlas

        sequence = self.sequence()
        return Rows(
            ids=np.array([f"letters-{sequence[:8]}/{index:06d}" for index in range(self.n)]),
            labels=np.load(os.path.join(folder, "labels.npy")),
            pixels=np.load(os.path.join(folder, "pixels.npy"), mmap_mode="r"),
            digest=combined(sequence, self.n),
            classes=atlas.names("letters"),
        )
