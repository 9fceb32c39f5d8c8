"""Scenes of one to six shapes: images whose class is how many there are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from components.types import Dataset, Examples, Run, revision

if TYPE_CHECKING:
    import numpy as np

    from components.data.examples import Rows

COUNTS = (1, 2, 3, 4, 5, 6)
CLASSES = ("one", "two", "three", "four", "five", "six")
SIZE, SIDE = 32, 10  # pixels of an image, and of the square in which a shape is drawn


@revision(2)
@dataclass(frozen=True)
class Counted(Dataset):
    """Images of 32 x 32 with one to six shapes of the microworld on a plain ground, drawn from (seed, index); the label is their number.

    n: how many scenes are drawn; counts: those that are kept. The classes are all six, whatever is kept: a patch on some counts can be
    tested on the others. Shapes, colours and places are random, and no shape covers another.
    """

    n: int = 1500
    seed: int = 5
    counts: tuple[int, ...] = COUNTS

    def __post_init__(self) -> None:
        if self.n < 1 or self.seed < 0 or not self.counts or not set(self.counts) <= set(COUNTS):
            raise ValueError(f"Counted: n = {self.n}, seed = {self.seed}, counts = {self.counts}; n from 1, the seed from 0, counts of 1 to 6")

    def open(self, run: Run) -> Examples:
        """The kept scenes in their order, rendered by the first process of the node that asks."""
        from components.data.cache import cached

        return cached(run, f"counted-{self.sequence()[:16]}-{self.n}", self._render, self._load)

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((replace(self, n=1, counts=COUNTS), 0.0, 1.0),)  # one root for every length and choice of counts

    def sequence(self) -> str:
        """The identity of the endless sequence that this is the beginning of."""
        from components.data.examples import combined

        return combined("Counted", type(self).__revision__, asdict(replace(self, n=1, counts=COUNTS)))  # type: ignore[attr-defined]

    def _render(self, folder: str) -> None:
        import numpy as np

        drawn = [scene(self.seed, index) for index in range(self.n)]
        np.save(os.path.join(folder, "pixels.npy"), np.stack([pixels for pixels, _ in drawn]))
        np.save(os.path.join(folder, "labels.npy"), np.array([count - 1 for _, count in drawn], np.int64))

    def _load(self, folder: str) -> Rows:
        import numpy as np

        from components.data.examples import Rows, combined

        labels, sequence = np.load(os.path.join(folder, "labels.npy")), self.sequence()
        whole = Rows(
            ids=np.array([f"counted-{sequence[:8]}/{index:06d}" for index in range(self.n)]),
            labels=labels,
            pixels=np.load(os.path.join(folder, "pixels.npy"), mmap_mode="r"),
            digest=combined(sequence, self.n),
            classes=CLASSES,
        )
        kept = sorted(set(self.counts))
        return whole.take(np.flatnonzero(np.isin(labels + 1, kept)), f"counts {kept}")


def scene(seed: int, index: int) -> tuple[np.ndarray, int]:
    """(image uint8 [32, 32, 3], how many shapes it shows): each in one of nine cells, the outer ones moved by up to a pixel."""
    import numpy as np

    from components.data.microworld.atlas import drawings
    from components.data.microworld.captions import COLOURS

    rng = np.random.Generator(np.random.Philox(key=[seed, index]))
    count = int(rng.integers(len(COUNTS))) + 1
    palette = np.array(list(COLOURS.values()), np.float32)
    ground = int(rng.integers(len(palette)))
    image = np.tile(palette[ground], (SIZE, SIZE, 1))
    atlas = drawings("shapes")
    for cell in rng.permutation(9)[:count].tolist():
        kind, variant = int(rng.integers(atlas.shape[0])), int(rng.integers(atlas.shape[1]))
        colour = palette[(ground + int(rng.integers(1, len(palette)))) % len(palette)]
        top, left = ((0, 11, 21)[place] + int(rng.integers(2)) * (place != 1) for place in divmod(cell, 3))
        ink = atlas[kind, variant].reshape(SIDE, 4, SIDE, 4).mean(axis=(1, 3))[..., None]
        part = image[top : top + SIDE, left : left + SIDE]
        part += ink * (colour - part)
    return np.rint(image).astype(np.uint8), count
