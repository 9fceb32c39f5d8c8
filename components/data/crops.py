"""Resizing and cropping with PIL, to the pixel as torchvision and open_clip do it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.data import chance, randaugment
from components.data.cache import Growing, mapped
from components.data.examples import Pixels, Rows, several

Array = NDArray[np.uint8]
VIEWS = "views.bin"
BLOCK = 512  # images between two writes
PART = 32  # images of one thread
TRIES = 10  # of a random crop that does not fit, as torchvision


class Recipe(Protocol):
    """What `augmented` needs to know."""

    @property
    def scale(self) -> float: ...
    @property
    def flip(self) -> bool: ...
    @property
    def operations(self) -> int: ...
    @property
    def magnitude(self) -> int: ...


@dataclass(frozen=True)
class Frame:
    """The geometry of open_clip's preprocess_cfg: target height and width, how to fit, filter and fill colour."""

    height: int
    width: int
    fit: str
    bilinear: bool
    fill: int

    @classmethod
    def of(cls, preprocess: Mapping[str, Any]) -> Frame:
        """From a preprocess_cfg; what it leaves out is open_clip's default (224, shortest, bicubic)."""
        size = preprocess.get("size") or 224
        height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
        fit, interpolation = preprocess.get("resize_mode") or "shortest", preprocess.get("interpolation") or "bicubic"
        if fit not in ("shortest", "longest", "squash") or interpolation not in ("bicubic", "bilinear", "random"):
            raise ValueError(f"preprocess: resize_mode {fit!r} with interpolation {interpolation!r} is unknown to open_clip")
        return cls(int(height), int(width), fit, interpolation == "bilinear", int(preprocess.get("fill_color") or 0))

    def key(self) -> dict[str, Any]:
        return asdict(self)

    def shows_unchanged(self, pixels: Pixels) -> bool:
        """Whether the view is the array itself: every image has the frame's size already."""
        return isinstance(pixels, np.ndarray) and pixels.shape[1:3] == (self.height, self.width)

    def view(self, image: Array) -> Array:
        """The evaluation view of one image, uint8 [height, width, 3]."""
        picture = Image.fromarray(image)
        resized = self._resized(picture)
        return self._centred(np.asarray(resized))

    def _resized(self, picture: Image.Image) -> Image.Image:
        width, height = picture.size
        filters = Image.Resampling.BILINEAR if self.bilinear else Image.Resampling.BICUBIC
        if self.fit == "squash":
            size = (self.width, self.height)
        elif self.fit == "shortest" and self.height == self.width:  # torchvision's Resize truncates the longer side
            short, long = min(width, height), max(width, height)
            longer = int(self.width * long / short)
            size = (self.width, longer) if width <= height else (longer, self.width)
        else:  # open_clip's ResizeKeepRatio rounds both; without a fitting mode it is bicubic whatever the configuration says
            ratios = (height / self.height, width / self.width)
            ratio = max(ratios) if self.fit == "longest" else min(ratios)
            filters = filters if self.fit == "longest" else Image.Resampling.BICUBIC
            size = (max(1, round(width / ratio)), max(1, round(height / ratio)))
        return picture if size == picture.size else picture.resize(size, filters)

    def _centred(self, image: Array) -> Array:
        """The middle of the image; where it is smaller than the frame, on the fill colour."""
        height, width = image.shape[:2]
        if height < self.height or width < self.width:
            missing = [max(0, self.height - height), max(0, self.width - width)]
            image = np.pad(image, [(m // 2, m - m // 2) for m in missing] + [(0, 0)], constant_values=self.fill)
            height, width = image.shape[:2]
        top, left = round((height - self.height) / 2), round((width - self.width) / 2)
        return image[top : top + self.height, left : left + self.width]


def write(examples: Rows, frame: Frame, file: Growing) -> None:
    """The evaluation views of all examples, one after another."""
    with contextlib.closing(file), ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(examples), BLOCK):
            block = range(start, min(len(examples), start + BLOCK))
            for views in pool.map(partial(_views, examples, frame), [block[i : i + PART] for i in range(0, len(block), PART)]):
                file.write(views)


def _views(examples: Rows, frame: Frame, indices: range) -> bytes:
    return np.stack([frame.view(image) for image in examples.images(indices)]).tobytes()


def read(folder: str, shape: tuple[int, ...]) -> Array:
    """What `write` wrote, memory-mapped."""
    views: Array = mapped(os.path.join(folder, VIEWS))[: math.prod(shape)].reshape(shape)
    return views


@dataclass(frozen=True, eq=False)
class Unkept:
    """Evaluation views that are made when asked for; indexed like the array they stand for."""

    pixels: Pixels
    frame: Frame

    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.pixels), self.frame.height, self.frame.width, 3

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Any) -> Array:
        chosen = np.arange(len(self))[index]
        if not chosen.ndim:
            return self.frame.view(self.pixels[int(chosen)])
        views = [self.frame.view(image) for image in several(self.pixels, chosen)]
        return np.stack(views) if views else np.empty((0, *self.shape[1:]), np.uint8)


def augmented(images: Sequence[Array], frame: Frame, seeds: NDArray[np.uint64], recipe: Recipe) -> Array:
    """Random views uint8 [B, height, width, 3], each a function of (image, seed)."""
    seeds = np.asarray(seeds, np.uint64)
    if len(seeds) != len(images):
        raise ValueError(f"augment: {len(images)} images with {len(seeds)} seeds; one each is needed")
    boxes = random_boxes(np.array([image.shape[:2] for image in images]), seeds, recipe.scale)
    mirrored = chance.uniform(seeds, 1) < 0.5 if recipe.flip else np.zeros(len(seeds), bool)
    operations = randaugment.draw(seeds, recipe.operations, recipe.magnitude, (frame.width, frame.height))
    views = np.empty((len(images), frame.height, frame.width, 3), np.uint8)
    for index, image in enumerate(images):
        if recipe.scale < 1:
            top, left, height, width = boxes[index]
            crop = Image.fromarray(image[top : top + height, left : left + width])
            picture = crop.resize((frame.width, frame.height), Image.Resampling.BICUBIC)
        else:
            picture = Image.fromarray(frame.view(image))
        if mirrored[index]:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        change: Callable[[Image.Image], Image.Image]
        for change in operations[index]:
            picture = change(picture)
        views[index] = np.asarray(picture)
    return views


def random_boxes(sizes: NDArray[np.int64], seeds: NDArray[np.uint64], scale: float) -> NDArray[np.int64]:
    """(top, left, height, width) of a random crop of `scale` to 1 of each image's area, sides 3:4 to 4:3: int64 [B, 4].

    Ten tries that may not fit, then the largest centred crop of an allowed shape, as torchvision's RandomResizedCrop.
    """
    draw = chance.uniform(seeds[:, None], 0, np.arange(2 * TRIES + 2))
    height, width = sizes[:, :1], sizes[:, 1:]
    area = height * width * (scale + (1 - scale) * draw[:, :TRIES])
    ratio = np.exp(np.log(3 / 4) + np.log(16 / 9) * draw[:, TRIES : 2 * TRIES])
    tall, wide = np.rint(np.sqrt(area / ratio)).astype(np.int64), np.rint(np.sqrt(area * ratio)).astype(np.int64)
    fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
    which = np.argmax(fits, axis=1)[:, None]
    found = fits.any(axis=1)
    size = np.concatenate([np.take_along_axis(tall, which, 1), np.take_along_axis(wide, which, 1)], axis=1)
    most = np.concatenate([np.minimum(height, np.rint(width / (3 / 4))), np.minimum(width, np.rint(height * (4 / 3)))], axis=1)
    size = np.where(found[:, None], size, most.astype(np.int64))
    free = sizes - size
    corner = np.where(found[:, None], np.floor(draw[:, 2 * TRIES :] * (free + 1)).astype(np.int64), free // 2)
    return np.concatenate([corner, size], axis=1)
