"""The microworld as a dataset: rendered once on a node, then read from its cache."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from components.types import Dataset, Examples, Run, revision

if TYPE_CHECKING:
    from components.data.examples import Rows


@revision(1)
@dataclass(frozen=True)
class Rendered(Dataset):
    """Images of 32 x 32 with a label and three captions each, drawn from (seed, index); about 6,000 a CPU-second.

    digits, garments, shapes: shares of the subjects; the classes are those of the subjects with a share. n: the first n of an endless
    sequence. fonts: `held_out` draws digits in four designs that `train` never shows. style: `plain` is white on black, upright, without
    noise, blur and pixelation; `mixed` is half so, half in colours, on five kinds of background.
    """

    n: int = 30_000
    seed: int = 0
    digits: float = 0.45
    garments: float = 0.40
    shapes: float = 0.15
    fonts: Literal["train", "held_out"] = "train"
    style: Literal["mixed", "plain"] = "mixed"

    def __post_init__(self) -> None:
        shares = (self.digits, self.garments, self.shapes)
        if self.n < 1 or self.seed < 0:
            raise ValueError(f"Rendered: n = {self.n}, seed = {self.seed}; n is at least 1 and the seed at least 0")
        if min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(f"Rendered: the shares of digits, garments and shapes are {shares}; give none below 0 and one above")

    def open(self, run: Run) -> Examples:
        """The examples, rendered by the first process of the node that asks."""
        from components.data.cache import cached

        return cached(run, f"rendered-{self.sequence()[:16]}-{self.n}", self._render, self._load)

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        # one root for every length: the first 1,000 of a sequence are part of its first 30,000
        return ((replace(self, n=1), 0.0, 1.0),)

    def sequence(self) -> str:
        """The identity of the endless sequence that this is the beginning of."""
        from components.data.examples import combined

        return combined("Rendered", type(self).__revision__, asdict(replace(self, n=1)))  # type: ignore[attr-defined]

    def mix(self) -> tuple[tuple[str, float], ...]:
        """The subjects that have a share, in label order."""
        return tuple((name, float(share)) for name in ("digits", "garments", "shapes") if (share := getattr(self, name)) > 0)

    def _render(self, folder: str) -> None:
        import numpy as np

        from components.data.microworld import renderer

        recipe = renderer.Recipe(self.mix(), self.fonts, self.style == "plain")
        shape = (self.n, renderer.SIZE, renderer.SIZE, 3)
        pixels = np.lib.format.open_memmap(os.path.join(folder, "pixels.npy"), "w+", np.uint8, shape)
        labels, captions = np.empty(self.n, np.int64), []
        for start in range(0, self.n, renderer.CHUNK):
            drawn, truth, said = renderer.chunk(recipe, self.seed, start // renderer.CHUNK)
            rest = min(renderer.CHUNK, self.n - start)
            pixels[start : start + rest], labels[start : start + rest] = drawn[:rest], truth[:rest]
            captions += said[:rest]
        pixels.flush()
        np.save(os.path.join(folder, "labels.npy"), labels)
        with open(os.path.join(folder, "captions.json"), "w") as file:
            json.dump(captions, file)

    def _load(self, folder: str) -> Rows:
        import numpy as np

        from components.data.examples import Rows, combined
        from components.data.microworld import atlas

        sequence = self.sequence()
        with open(os.path.join(folder, "captions.json")) as file:
            captions = json.load(file)
        return Rows(
            ids=np.array([f"rendered-{sequence[:8]}/{index:06d}" for index in range(self.n)]),
            labels=np.load(os.path.join(folder, "labels.npy")),
            pixels=np.load(os.path.join(folder, "pixels.npy"), mmap_mode="r"),
            digest=combined(sequence, self.n),
            classes=tuple(name for subject, _ in self.mix() for name in atlas.names(subject)),
            captions=captions,
        )
