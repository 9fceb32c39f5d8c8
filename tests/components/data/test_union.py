"""Several tasks as one dataset: rows of their own, ids that stay, splits that commute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.data import Digits, Sample, Split
from components.data.microworld.counted import Counted
from components.data.union import Union
from components.types import Local

COUNTED = Counted(n=80)


@pytest.fixture
def run(tmp_path: Path) -> Local:
    return Local(str(tmp_path))


def test_labels_count_on_from_task_to_task(run: Local) -> None:
    digits, counted = Sample(Digits(), 50).open(run), COUNTED.open(run)
    joined = Union((Sample(Digits(), 50), COUNTED), ("digits", "counting")).open(run)
    assert joined.classes == (*(f"digits: {name}" for name in digits.classes), *(f"counting: {name}" for name in counted.classes))
    assert [joined.classes[i].partition(": ")[2] for i in joined.labels] == [
        *(digits.classes[i] for i in digits.labels), *(counted.classes[i] for i in counted.labels)
    ]  # fmt: skip
    assert [*joined.ids] == [*digits.ids, *counted.ids]
    assert np.array_equal(joined.images([50])[0], counted.images([0])[0])


def test_a_split_of_a_union_is_the_union_of_the_splits(run: Local) -> None:
    """Also of two tasks that show the same examples."""
    whole = Union((Digits(), COUNTED, Digits()), ("a", "b", "c"))
    outer = Split(whole, 0.3, 0.4)
    inner = Union((Split(Digits(), 0.3, 0.4), Split(COUNTED, 0.3, 0.4), Split(Digits(), 0.3, 0.4)), ("a", "b", "c"))
    one, other = outer.open(run), inner.open(run)
    assert list(one.ids) == list(other.ids) and one.labels.tolist() == other.labels.tolist()
    assert all(np.array_equal(a, b) for a, b in zip(one.images(range(len(one))), other.images(range(len(one))), strict=True))
    assert outer.parts() == inner.parts() and len(whole.parts()) == 3


def test_what_is_no_union_is_refused() -> None:
    for names in (("a",), ("a", "a"), ("a", "b: c")):
        with pytest.raises(ValueError, match="Union: "):
            Union((Digits(), COUNTED), names)
    with pytest.raises(ValueError, match="0 datasets"):
        Union((), ())
