"""Scenes show as many shapes as their label says; lengths are prefixes, and counts are left out without moving the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label

from components.data import Split
from components.data.microworld.counted import CLASSES, Counted, scene
from components.types import Dataset, Local


@pytest.fixture
def run(tmp_path: Path) -> Local:
    return Local(str(tmp_path))


def pixels(data: Dataset, run: Local) -> np.ndarray:
    opened = data.open(run)
    return np.stack(opened.images(range(len(opened))))


def test_the_label_is_the_number_of_shapes() -> None:
    """Separate regions that differ from the ground; the hollow ones may fall apart where their line is thin, none may touch another."""
    differ = 0
    for index in range(200):
        image, count = scene(3, index)
        corner = np.bincount((image.astype(int) @ [1, 256, 65536]).ravel()).argmax()  # the ground is the commonest colour
        regions = label(image.astype(int) @ [1, 256, 65536] != corner, np.ones((3, 3)))[1]
        assert regions >= count
        differ += regions > count
    assert differ < 20


def test_a_longer_sequence_begins_with_the_shorter_one(run: Local) -> None:
    short, long = Counted(n=60), Counted(n=130)
    assert np.array_equal(pixels(short, run), pixels(long, run)[:60])
    a, b = short.open(run), long.open(run)
    assert list(a.ids) == list(b.ids[:60]) and a.labels.tolist() == b.labels.tolist()[:60] and a.digest != b.digest
    assert short.parts() == long.parts() == Counted(counts=(3,)).parts()
    assert a.classes == CLASSES and set(b.labels.tolist()) == set(range(6))
    assert not np.array_equal(pixels(Counted(n=60, seed=6), run), pixels(short, run))


def test_counts_can_be_left_out(run: Local) -> None:
    whole, some, others = (Counted(n=130, counts=counts).open(run) for counts in ((1, 2, 3, 4, 5, 6), (4, 1, 2, 6), (3, 5)))
    assert set(some.labels.tolist()) == {0, 1, 3, 5} and set(others.labels.tolist()) == {2, 4}
    assert some.classes == others.classes == CLASSES
    assert sorted([*some.ids, *others.ids]) == list(whole.ids)
    place = list(whole.ids).index(others.ids[0])
    assert np.array_equal(others.images([0])[0], whole.images([place])[0])
    assert some.digest == Counted(n=130, counts=(1, 2, 4, 6)).open(run).digest != whole.digest


def test_splits_by_hash_are_disjoint(run: Local) -> None:
    low, high = (Split(Counted(n=130), *ends).open(run) for ends in ((0.0, 0.5), (0.5, 1.0)))
    assert len(low) + len(high) == 130 and not {*low.ids} & {*high.ids}


def test_what_is_no_scene_is_refused() -> None:
    for bad in ({"n": 0}, {"seed": -1}, {"counts": ()}, {"counts": (7,)}):
        with pytest.raises(ValueError, match="counts of 1 to 6"):
            Counted(**bad)  # type: ignore[arg-type]
