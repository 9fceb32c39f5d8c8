"""Corruptions: functions of (image, id), on any image size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.data import (
    SHIFTS,
    Corrupted,
    Corruption,
    Digits,
    Invert,
    LowContrast,
    Noise,
    Occlusion,
    Rotate,
    Sample,
    Scale,
    Split,
    Texture,
)
from components.types import Local

PHOTO = np.random.default_rng(0).integers(0, 256, (37, 61, 3), np.uint8)


@pytest.mark.parametrize("corruption", SHIFTS, ids=lambda c: c.name)
def test_a_corruption_belongs_to_the_example(corruption: Corruption, tmp_path: Path) -> None:
    run = Local(str(tmp_path))
    whole = Corrupted(Digits(), corruption).open(run)
    part = Corrupted(Split(Digits(), 0.5, 0.6), corruption).open(run)
    outer = Split(Corrupted(Digits(), corruption), 0.5, 0.6).open(run)
    clean = Digits().open(run)
    for i in (0, 50):
        j = list(whole.ids).index(part.ids[i])
        seen = part.images([i])[0]
        assert np.array_equal(seen, whole.images([j])[0]) and np.array_equal(seen, outer.images([i])[0])
        assert not np.array_equal(seen, clean.images([j])[0])
    assert np.array_equal(whole.labels, clean.labels)


@pytest.mark.parametrize("corruption", SHIFTS, ids=lambda c: c.name)
@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 50, 3), (37, 61, 3), (200, 130, 3)])
def test_any_size_is_kept(corruption: Corruption, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    before = image.copy()
    changed = corruption(image, 2**64 - 1)
    assert changed.shape == shape and changed.dtype == np.uint8
    assert np.array_equal(image, before)  # nothing mutates its argument


def test_the_limits() -> None:
    assert np.array_equal(Invert()(Invert()(PHOTO, 0), 0), PHOTO)
    for harmless in (Noise(0.0), Rotate(0.0), Texture(0.0), Scale(1.0), LowContrast(0.0)):
        assert np.array_equal(harmless(PHOTO, 5), PHOTO), harmless
    assert np.ptp(LowContrast(1.0)(PHOTO, 5), axis=(0, 1)).max() == 0
    assert (Occlusion(1.0)(PHOTO, 5) == 127).all()
    assert np.array_equal(Rotate(180.0)(PHOTO, 5), PHOTO[::-1, ::-1])


def test_severity_is_what_it_says() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert np.std(Noise(0.1)(grey, 1)) == pytest.approx(25.5, rel=0.02)
    assert (Occlusion(0.5)(grey, 1) == 127).mean() == pytest.approx(0.25)
    assert (Scale(0.5)(grey, 1) > 0).mean() == pytest.approx(0.25)


def test_examples_get_different_randomness(tmp_path: Path) -> None:
    examples = Corrupted(Sample(Digits(), 30), Noise()).open(Local(str(tmp_path)))
    corners = {image[0, :8].tobytes() for image in examples.images(range(30))}
    assert len(corners) == 30


def test_golden_corruptions() -> None:
    """Part of every published shift: a change here is a new revision."""
    image = np.add.outer(np.arange(20) * 6, np.arange(24) * 4)[..., None].repeat(3, 2).astype(np.uint8)
    sums = {c.name: c(image, 12345).astype(np.int64) @ np.array([1, 3, 7]) for c in SHIFTS}
    assert {name: int((table * np.arange(1, 25)).sum()) for name, table in sums.items()} == GOLDEN


GOLDEN = {
    "invert": 9_020_000,
    "noise": 7_783_477,
    "45 degrees": 6_665_065,
    "colour": 7_562_276,
    "texture": 10_520_224,
    "scale": 1_824_130,
    "low contrast": 7_101_600,
    "occlusion": 8_027_360,
}
