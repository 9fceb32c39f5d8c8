"""Splits, samples and mixtures: arithmetic on hash(id)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data import Corrupted, Digits, Invert, Mixture, Noise, Sample, Split
from components.types import Dataset, Local


@pytest.fixture
def run(tmp_path: Path) -> Local:
    return Local(str(tmp_path))


def test_neighbouring_splits_partition_the_data(run: Local) -> None:
    parts = [Split(Digits(), low, high).open(run) for low, high in [(0, 0.5), (0.5, 0.75), (0.75, 1)]]
    ids = np.concatenate([part.ids for part in parts])
    assert len(ids) == len(set(ids)) == 1797
    assert 800 < len(parts[0]) < 1000


def test_a_split_keeps_images_labels_and_ids_together(run: Local) -> None:
    whole, part = Digits().open(run), Split(Digits(), 0.2, 0.4).open(run)
    for i in (0, len(part) - 1):
        j = list(whole.ids).index(part.ids[i])
        assert part.labels[i] == whole.labels[j]
        assert np.array_equal(part.images([i])[0], whole.images([j])[0])


@settings(deadline=None, max_examples=60)
@given(*[st.floats(0, 1)] * 4)
def test_nested_ranges_intersect(a: float, b: float, c: float, d: float) -> None:
    (a, b), (c, d) = sorted((a, b)), sorted((c, d))
    if a == b or c == d:
        return
    parts = Split(Split(Digits(), a, b), c, d).parts()
    low, high = max(a, c), min(b, d)
    assert tuple(parts) == (((Digits(), low, high),) if low < high else ())


def test_parts_see_through_corruptions_samples_and_mixtures() -> None:
    assert Split(Corrupted(Split(Digits(), 0, 0.5), Invert()), 0.25, 1).parts() == ((Digits(), 0.25, 0.5),)
    assert Sample(Split(Digits(), 0, 0.5), 10).parts() == ((Digits(), 0, 0.5),)
    assert Mixture((Split(Digits(), 0, 0.1), Digits())).parts() == ((Digits(), 0, 0.1), (Digits(), 0.0, 1.0))


def test_an_empty_split_is_refused(run: Local) -> None:
    with pytest.raises(ValueError, match="none of 1797 examples is in"):
        Split(Digits(), 0.5, 0.5000001).open(run)
    with pytest.raises(ValueError, match="not a range"):
        Split(Digits(), 0.5, 0.5)


def test_a_sample_does_not_depend_on_order_and_grows(run: Local) -> None:
    small, large = Sample(Digits(), 20).open(run), Sample(Digits(), 50).open(run)
    assert len(small) == 20 and set(small.ids) < set(large.ids)
    reversed_source = Sample(Mixture((Split(Digits(), 0.5, 1), Split(Digits(), 0, 0.5))), 20).open(run)
    assert set(reversed_source.ids) == set(small.ids)
    assert len(Sample(Digits(), 10**6).open(run)) == 1797


def test_a_mixture_of_the_parts_is_the_whole(run: Local) -> None:
    mixed = Mixture((Split(Digits(), 0, 0.3), Split(Digits(), 0.3, 1))).open(run)
    whole = Digits().open(run)
    order = np.argsort(mixed.ids)
    assert np.array_equal(mixed.ids[order], whole.ids) and np.array_equal(mixed.labels[order], whole.labels)
    assert np.array_equal(np.stack(mixed.images(order)), np.stack(whole.images(range(1797))))
    assert mixed.classes == whole.classes


def test_a_mixture_holds_an_example_once(run: Local) -> None:
    with pytest.raises(ValueError, match="ids appear twice"):
        Mixture((Split(Digits(), 0, 0.5), Split(Digits(), 0.4, 1))).open(run)


def test_digests_name_the_content(run: Local) -> None:
    datasets: list[Dataset] = [
        Digits(), Split(Digits(), 0, 0.5), Split(Digits(), 0.5, 1), Sample(Digits(), 5), Corrupted(Digits(), Invert()),
        Corrupted(Digits(), Noise()), Corrupted(Digits(), Noise(0.5)), Mixture((Digits(),)),
    ]  # fmt: skip
    digests = [data.open(run).digest for data in datasets]
    assert len(set(digests)) == len(digests)
    assert digests == [data.open(run).digest for data in datasets]
