"""The real handwritten digits that scikit-learn ships: the default target, offline."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.types import DataError, Dataset, Examples, Run, revision

CONTENT = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@revision(1)
@dataclass(frozen=True)
class Digits(Dataset):
    """1,797 handwritten digits, 8 x 8 scans shown at 24 x 24 (bicubic) in a black frame of 32 x 32; UCI, Alpaydin and Kaynak 1998."""

    def open(self, run: Run) -> Examples:
        """Read the installed package's file without importing it; DataError where its content is not the recorded one."""
        import numpy as np
        from PIL import Image

        from components.data.examples import Rows, combined

        table = np.fromstring(_text().decode("ascii").replace("\n", ","), dtype=np.int64, sep=",").reshape(-1, 65)
        scans = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
        grey = np.zeros((len(scans), 32, 32), np.uint8)
        for place, scan in zip(grey, scans, strict=True):
            place[4:28, 4:28] = np.asarray(Image.fromarray(scan).resize((24, 24), Image.Resampling.BICUBIC))
        return Rows(
            ids=np.array([f"digits/{index:04d}" for index in range(len(table))]),
            labels=table[:, 64],
            pixels=np.repeat(grey[..., None], 3, axis=3),
            digest=combined("Digits", 1, CONTENT),
            classes=CLASSES,
        )

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)


def _text() -> bytes:
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("Digits: scikit-learn is not installed, and the digits are in its package; pip install scikit-learn")
    path = os.path.join(spec.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    try:
        with gzip.open(path) as file:
            text = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Digits: {path} cannot be read ({error}); reinstall scikit-learn") from error
    if hashlib.sha256(text).hexdigest() != CONTENT:
        raise DataError(f"Digits: {path} is not the file that was recorded (sha256 differs); reinstall scikit-learn")
    return text
