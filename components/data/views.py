"""What a model is shown: the evaluation view of each image, decoded once, and augmented views for training."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.types import Examples, Run, revision

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray


def evaluation(examples: Examples, preprocess: Mapping[str, Any], run: Run) -> NDArray[np.uint8]:
    """Every image as open_clip's evaluation transform shows it, before normalisation; bit-equal to its PIL path.

    uint8 [N, H, W, 3], memory-mapped, kept in the node's cache by (digest, view). `preprocess` is open_clip's preprocess_cfg: size,
    resize_mode, interpolation and fill_color are used. Beyond `run.cache_limit` the views are made on access, indexed as the array.
    """
    import PIL

    from components.data import cache, crops
    from components.data import examples as opened

    frame = crops.Frame.of(preprocess)
    known = opened.rows(examples)
    if frame.shows_unchanged(known.pixels):
        return known.pixels  # type: ignore[return-value]
    key = opened.combined("evaluation", 1, known.digest, frame.key(), PIL.__version__)
    shape = (len(known), frame.height, frame.width, 3)
    size = len(known) * frame.height * frame.width * 3
    if cache.exists(run, f"view-{key}") or size <= cache.room(run, size):
        with contextlib.suppress(cache.Full):
            return cache.cached(
                run, f"view-{key}",
                lambda folder: crops.write(known, frame, cache.Growing(run, os.path.join(folder, crops.VIEWS))),
                lambda folder: crops.read(folder, shape),
            )  # fmt: skip
    return crops.Unkept(known.pixels, frame)  # type: ignore[return-value]  # what does not fit is computed on access


@revision(1)
@dataclass(frozen=True)
class Augment:
    """Training views: a random crop of `scale` to 1 of the area (sides 3:4 to 4:3), an optional flip, then RandAugment.

    Each view is a function of its image and its own seed. `scale=1` shows the evaluation view. `operations` of the 14 standard ones at
    `magnitude` 0..30: RandAugment, arXiv:1909.13719; the crop is open_clip's (scale 0.9 there), bicubic.
    """

    scale: float = 0.9
    flip: bool = False
    operations: int = 0
    magnitude: int = 9

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1 or self.operations < 0 or not 0 <= self.magnitude <= 30:
            raise ValueError(f"{self}: scale is in (0, 1], operations are 0 or more, magnitude is 0 to 30")

    def __call__(self, images: Sequence[NDArray[np.uint8]], preprocess: Mapping[str, Any], seeds: NDArray[np.uint64]) -> torch.Tensor:
        """uint8 [B, 3, H, W] views of B images uint8 [h, w, 3]; seeds: uint64 [B]."""
        import numpy as np
        import torch

        from components.data import crops

        views = crops.augmented(images, crops.Frame.of(preprocess), seeds, self)
        return torch.from_numpy(np.ascontiguousarray(views.transpose(0, 3, 1, 2)))
