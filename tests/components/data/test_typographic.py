"""The typographic attack: a wrong word, the same one wherever the example is met, wholly on the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.data import Digits, Sample, Split
from components.data.lettering import letters, write
from components.data.typographic import Typographic
from components.types import Dataset, Local

DIGITS = tuple("0123456789")


@pytest.fixture
def run(tmp_path: Path) -> Local:
    return Local(str(tmp_path))


def pixels(data: Dataset, run: Local) -> np.ndarray:
    opened = data.open(run)
    return np.stack(opened.images(range(len(opened))))


def test_what_is_written_is_golden(run: Local) -> None:
    """The word belongs to the id and the label; the drawing may differ in last bits between versions of the font library."""
    first = Typographic(Sample(Digits(), 1797), DIGITS, "written").open(run)
    assert first.labels[:12].tolist() == [9, 8, 5, 9, 5, 8, 7, 9, 3, 4, 6, 9]
    drawn = write(np.zeros((32, 32, 3), np.uint8), "7", 0).max(axis=2)
    golden = [[0, 77.3, 107.9, 0], [0, 35.6, 100.8, 0], [0, 58.3, 9.2, 0], [0, 0, 0, 0]]  # a seven in the upper middle
    assert np.abs(drawn.reshape(4, 8, 4, 8).mean(axis=(1, 3)) - golden).max() < 4


def test_the_word_is_never_that_of_the_own_class_and_each_other_one_occurs(run: Local) -> None:
    clean, written = Digits().open(run), Typographic(Digits(), DIGITS, "written").open(run)
    pairs = set(zip(clean.labels.tolist(), written.labels.tolist(), strict=True))
    assert pairs == {(own, other) for own in range(10) for other in range(10) if own != other}


def test_ids_labels_and_parts_stay_and_splits_commute(run: Local) -> None:
    whole, part = Typographic(Digits(), DIGITS), Typographic(Split(Digits(), 0.5, 0.52), DIGITS)
    assert whole.parts() == Digits().parts() and part.parts() == Split(Digits(), 0.5, 0.52).parts()
    assert np.array_equal(pixels(part, run), pixels(Split(whole, 0.5, 0.52), run))
    opened, clean = part.open(run), Split(Digits(), 0.5, 0.52).open(run)
    assert list(opened.ids) == list(clean.ids) and opened.labels.tolist() == clean.labels.tolist() and opened.classes == clean.classes
    before, after = pixels(Split(Digits(), 0.5, 0.52), run), pixels(part, run)
    assert (before != after).any(axis=(1, 2, 3)).all()
    assert len({data.open(run).digest for data in (whole, Digits(), Typographic(Digits()), Typographic(Digits(), DIGITS, "written"))}) == 4


@pytest.mark.parametrize("shape", [(32, 32, 3), (9, 60, 3), (200, 130, 3), (2, 2, 3)])
@pytest.mark.parametrize("word", ["7", "ankle boot"])
def test_any_size_holds_the_whole_word(shape: tuple[int, ...], word: str) -> None:
    grey = np.full(shape, 90, np.uint8)
    for seed in range(20):
        drawn = write(grey, word, seed)
        assert drawn.shape == shape and drawn.dtype == np.uint8 and (grey == 90).all()
        rim = letters(word, *shape[:2])[1]
        assert rim.shape[0] <= shape[0] and rim.shape[1] <= shape[1]
        assert (drawn != 90).any(axis=2).sum() >= 0.9 * (rim > 0.5).sum()


@pytest.mark.parametrize("word", ["7", "dress", "pullover", "trouser"])
def test_a_word_stands_out_on_any_ground(word: str) -> None:
    """What it covers is the same on black and on white, and has bright letters and a dark rim."""
    on = [write(np.full((32, 32, 3), ground, np.uint8), word, 3) for ground in (0, 255)]
    covered = np.abs(on[0].astype(int) - on[1]).max(axis=2) < 40
    light = on[0].max(axis=2)[covered]
    assert (light > 150).sum() > 20 and (light < 90).sum() > 20 and covered.sum() < 400


def test_words_that_do_not_match_the_classes_are_refused(run: Local) -> None:
    with pytest.raises(ValueError, match="2 words for 10 classes; give one word for each"):
        Typographic(Digits(), ("a", "b")).open(run)
