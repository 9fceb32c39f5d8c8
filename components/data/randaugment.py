"""RandAugment's fourteen operations on PIL images. Cubuk et al. 2019, arXiv:1909.13719; strengths and order as in torchvision."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from components.data import chance

Picture = Image.Image
Change = Callable[[Picture], Picture]
STRONGEST = 30
NAMES = (
    "identity", "shear x", "shear y", "translate x", "translate y", "rotate", "brightness",
    "colour", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
SIGNED = range(1, 10)


def draw(seeds: NDArray[np.uint64], operations: int, magnitude: int, size: tuple[int, int]) -> list[list[Change]]:
    """For each seed, `operations` changes drawn with replacement at `magnitude` of 30, signs at random."""
    if not operations:
        return [[] for _ in seeds]
    places = np.arange(operations)
    which = (chance.uniform(seeds[:, None], 2, places) * len(NAMES)).astype(np.int64)
    negative = chance.uniform(seeds[:, None], 3, places) < 0.5
    return [
        [operation(NAMES[k], -magnitude if minus and k in SIGNED else magnitude, size) for k, minus in zip(row, signs, strict=True)]
        for row, signs in zip(which.tolist(), negative.tolist(), strict=True)
    ]


def operation(name: str, magnitude: float, size: tuple[int, int]) -> Change:
    """The change `name` at a magnitude in [-30, 30], for pictures of `size` (width, height). What moves in is black; nearest neighbour."""
    level = magnitude / STRONGEST
    match name:
        case "shear x":
            return partial(_affine, matrix=(1, 0.3 * level, 0, 0, 1, 0))
        case "shear y":
            return partial(_affine, matrix=(1, 0, 0, 0.3 * level, 1, 0))
        case "translate x":
            return partial(_affine, matrix=(1, 0, -int(150 / 331 * size[0] * level), 0, 1, 0))
        case "translate y":
            return partial(_affine, matrix=(1, 0, 0, 0, 1, -int(150 / 331 * size[1] * level)))
        case "rotate":
            return lambda picture: picture.rotate(30 * level)
        case "brightness":
            return lambda picture: ImageEnhance.Brightness(picture).enhance(1 + 0.9 * level)
        case "colour":
            return lambda picture: ImageEnhance.Color(picture).enhance(1 + 0.9 * level)
        case "contrast":
            return lambda picture: ImageEnhance.Contrast(picture).enhance(1 + 0.9 * level)
        case "sharpness":
            return lambda picture: ImageEnhance.Sharpness(picture).enhance(1 + 0.9 * level)
        case "posterize":
            return lambda picture: ImageOps.posterize(picture, 8 - round(4 * level))
        case "solarize":
            return lambda picture: ImageOps.solarize(picture, 255 * (1 - level))  # type: ignore[arg-type]
        case "autocontrast":
            return ImageOps.autocontrast
        case "equalize":
            return ImageOps.equalize
    return lambda picture: picture


def _affine(picture: Picture, matrix: tuple[float, ...]) -> Picture:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)
