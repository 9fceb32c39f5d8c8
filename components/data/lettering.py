"""Words drawn over images: each word's place and colour is a function of the example's id alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from components.data import chance
from components.data.examples import Derived, Image, Pixels, several

FONT, HEIGHT = "DejaVuSans-Bold", 0.6
COLOURS = np.array([(255, 255, 255), (255, 220, 40), (90, 230, 90), (70, 200, 255), (255, 120, 120), (255, 160, 230)], np.uint8)


def wrong(ids: NDArray[np.str_], labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """For each example a class that is not its own, a function of (id, label); int64 [N]."""
    seeds = np.array([chance.seed(f"typographic/{name}") for name in ids.tolist()], np.uint64)
    step = 1 + (chance.uniform(seeds, 0) * (classes - 1)).astype(np.int64)
    other: NDArray[np.int64] = (labels + step) % classes
    return other


@dataclass(frozen=True, eq=False)
class Written(Derived):
    """Pixels with a word over each image."""

    pixels: Pixels
    ids: NDArray[np.str_]
    words: Sequence[str]

    def __len__(self) -> int:
        return len(self.pixels)

    def under(self, indices: NDArray[np.int64]) -> list[tuple[Pixels, NDArray[np.int64], NDArray[np.int64]]]:  # type: ignore[override]
        return [(self.pixels, indices, np.arange(len(indices)))]

    def many(self, indices: NDArray[np.int64]) -> list[Image]:
        clean = several(self.pixels, indices)
        return [write(image, self.words[i], chance.seed(f"typographic/{self.ids[i]}")) for image, i in zip(clean, indices.tolist(), strict=True)]


def write(image: Image, word: str, seed: int) -> Image:
    """The word somewhere on a copy of an image uint8 [H, W, 3], wholly inside."""
    ink, rim = letters(word, *image.shape[:2])
    height, width = ink.shape
    y, x, colour = chance.uniform(seed, np.arange(1, 4))
    top, left = int(y * (image.shape[0] - height + 1)), int(x * (image.shape[1] - width + 1))
    drawn = image.copy()
    place = drawn[top : top + height, left : left + width].astype(np.float32)
    place = place * (1 - rim[..., None]) + COLOURS[int(colour * len(COLOURS))] * ink[..., None]
    drawn[top : top + height, left : left + width] = np.clip(np.rint(place), 0, 255).astype(np.uint8)
    return drawn


@lru_cache(maxsize=4096)
def letters(word: str, height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(ink, ink with its rim) in [0, 1] of a word, as large as fits 0.6 of the height and the whole width of an image."""
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    from components.data.microworld.atlas import font

    path, full = font(FONT), 100
    left, top, right, bottom = ImageFont.truetype(path, full).getbbox(word)
    size = max(1, int(full * min((HEIGHT * height - 2) / max(1, bottom - top), (width - 2) / max(1, right - left))))
    face = ImageFont.truetype(path, size)
    drawn = []
    box = face.getbbox(word, stroke_width=1)
    shape = (min(width, round(box[2] - box[0])), min(height, round(box[3] - box[1])))
    for stroke in (0, 1):
        page = Picture.new("L", shape)
        ImageDraw.Draw(page).text((-box[0], -box[1]), word, fill=255, font=face, stroke_width=stroke)
        drawn.append(np.asarray(page).astype(np.float32) / np.float32(255))
    return drawn[0], np.maximum(drawn[0], drawn[1])
