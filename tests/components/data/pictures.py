"""Small image files of every kind, for the tests of readers."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def photo(seed: int = 0, height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(stream, kind, **options)
    return stream.getvalue()


def class_folders(root: Path, counts: dict[str, int], sizes: bool = False) -> Path:
    """{class: n} images as PNG, of different sizes where asked; a nested folder holds every second one."""
    for number, (name, count) in enumerate(counts.items()):
        for i in range(count):
            path = root / name / ("deep/er" if i % 2 else "") / f"{i:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(photo(100 * number + i, 12 + (i if sizes else 0), 16)))
    return root
