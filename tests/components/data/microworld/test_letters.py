"""Letters are a function of their fields, apart from the digits, and the digits know nothing of them."""

from __future__ import annotations

import numpy as np
import pytest

from components.data.microworld import Letters, Rendered
from components.types import Dataset, Local


@pytest.fixture
def run(tmp_path):
    return Local(str(tmp_path))


def pixels(data: Dataset, run: Local) -> np.ndarray:
    opened = data.open(run)
    return np.stack(opened.images(range(len(opened))))


def test_a_longer_sequence_begins_with_the_shorter_one(run, tmp_path):
    short, long = Letters(n=30), Letters(n=510)
    assert np.array_equal(pixels(short, run), pixels(long, Local(str(tmp_path / "elsewhere")))[:30])
    assert list(short.open(run).ids) == list(long.open(run).ids[:30]) and short.parts() == long.parts()


def test_ten_letters_in_other_drawings_for_another_seed_or_style(run):
    opened = Letters(n=300).open(run)
    assert opened.classes == ("a", "e", "f", "h", "k", "m", "n", "r", "t", "x") and sorted(set(opened.labels.tolist())) == list(range(10))
    for other in (Letters(n=300, seed=1), Letters(n=300, style="plain"), Rendered(n=300, digits=1, garments=0, shapes=0)):
        assert not set(opened.ids.tolist()) & set(other.open(run).ids.tolist())
        assert (pixels(Letters(n=300), run) != pixels(other, run)).any(axis=(1, 2, 3)).mean() > 0.9


@pytest.mark.parametrize("knobs", [{"n": 0}, {"seed": -1}])
def test_impossible_fields_are_refused(knobs):
    with pytest.raises(ValueError, match="n is at least 1"):
        Letters(**knobs)
