"""Auxiliary images that are the target's are found by their pixels, whatever they are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.analysis.apart import apart
from components.data import Digits, Folder, Sample, Split
from components.data.examples import Rows
from components.types import DataError, Dataset, Examples, Local, revision


@revision(1)
@dataclass(frozen=True)
class Plain(Dataset):
    """Images of one colour each, the same in every such source."""

    name: str

    def open(self, run: Any) -> Examples:
        pixels = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (0, 128, 255)])
        return Rows(np.array([f"{self.name}/{i}" for i in range(3)]), np.arange(3), pixels, self.name)

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)


def folder(path: Path, images: Sequence[np.ndarray]) -> Folder:
    for i, image in enumerate(images):
        (path / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / f"class{i % 2}" / f"renamed{i}.png")
    return Folder(str(path))


def test_disjoint_parts_of_one_source_are_apart(run: Local) -> None:
    found = apart([Split(Digits(), 0.0, 0.1), Split(Digits(), 0.2, 0.3)], [Split(Digits(), 0.5, 0.6)], run=run).rows[0]
    assert found["auxiliary"] > 200 and found["target"] > 100


def test_a_renamed_copy_is_named(run: Local, tmp_path: Path) -> None:
    digits = Sample(Digits(), 50)
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(4)]
    assert apart([folder(tmp_path / "own", noise)], [digits], run=run).rows[0] == {"auxiliary": 4, "target": 50}
    copies = folder(tmp_path / "copied", [*noise, digits.open(run).images([7])[0]])
    with pytest.raises(DataError, match=r"contains the target: its image class0/renamed4.png has the pixels of digits/\d+; leave"):
        apart([copies], [digits], run=run)


def test_images_without_content_are_no_evidence(run: Local) -> None:
    assert apart([Plain("a")], [Plain("b")], run=run).rows[0] == {"auxiliary": 0, "target": 0}
