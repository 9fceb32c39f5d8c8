"""The exact threshold against a sort, whatever the values, the slabs and the room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.merge import threshold


class Slabs:
    """Arrays as a scan shows them, in slabs of a size of one's own."""

    def __init__(self, models: Sequence[np.ndarray], slab: int) -> None:
        self.models, self.slab, self.count, self.passes = models, slab, len(models[0]), 0
        entry = type("Entry", (), {"count": self.count})
        self.keys, self.order = {"w": entry}, (-1, *range(len(models)))

    def __call__(self, visit: Any, places: Any = None) -> Iterator[Any]:
        self.passes += places is None
        for key, low, count in places or [("w", low, min(self.slab, self.count - low)) for low in range(0, self.count, self.slab)]:
            yield visit(key, low, [one[low : low + count].copy() for one in self.models])


def magnitudes(key: str, low: int, values: Sequence[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    yield from ((i, np.abs(one)) for i, one in enumerate(values))


SHAPES = {
    "normal": lambda random, n: random.normal(size=n),
    "uneven": lambda random, n: random.normal(size=n) * np.repeat(10.0 ** random.integers(-6, 3, 40), n // 40 + 1)[:n],
    "mostly zero": lambda random, n: random.normal(size=n) * (random.uniform(size=n) < 0.01),
    "few values": lambda random, n: random.integers(-3, 4, n).astype(float),
    "one value": lambda random, n: np.full(n, 0.25),
    "sorted": lambda random, n: np.sort(np.abs(random.normal(size=n))),
    "infinite": lambda random, n: np.where(random.uniform(size=n) < 0.5, np.inf, 1e-310),
}


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    seed=st.integers(0, 99),
    rank=st.integers(1, 5000),
    slab=st.sampled_from([97, 1000, 5000]),
    room=st.sampled_from([1, 64, 10**6]),
)
def test_the_threshold_is_that_of_a_sort(shape: str, seed: int, rank: int, slab: int, room: int) -> None:
    """Whatever the distribution, the slabs and the room, also where the sample of 16 values misleads."""
    models = [SHAPES[shape](np.random.default_rng([seed, i]), 5000) for i in range(2)]
    before = threshold.PLACES, threshold.LENGTH, threshold.HELD
    threshold.PLACES, threshold.LENGTH, threshold.HELD = 4, 4, room
    try:
        found = threshold.largest(Slabs(models, slab), rank, magnitudes)  # type: ignore[arg-type]
    finally:
        threshold.PLACES, threshold.LENGTH, threshold.HELD = before
    assert found == tuple(np.sort(np.abs(one))[-rank] for one in models)


def test_what_is_no_number_is_not_counted() -> None:
    """The merge finds it in its result; the search must only end."""
    some, none = np.where(np.arange(5000) % 3, np.nan, 1.0), np.full(5000, np.nan)
    assert threshold.largest(Slabs([some, none], 1000), 10, magnitudes) == (1.0, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [2, 72, 5000])
def test_the_samples_of_many_models_take_no_more_memory(count: int) -> None:
    scan = Slabs([np.empty(0)] * count, 1)
    scan.keys["w"].count = scan.count = 10**8
    assert 0 < count * sum(size for _, _, size in threshold.places(scan)) <= threshold.SAMPLE + count * threshold.LENGTH  # type: ignore[arg-type]


def test_one_pass_finds_it_where_the_sample_is_fair() -> None:
    scan = Slabs([np.random.default_rng(i).normal(size=3_000_000) for i in range(2)], 1 << 18)
    before, threshold.HELD = threshold.HELD, 100_000
    try:
        found = threshold.largest(scan, 600_000, magnitudes)  # type: ignore[arg-type]
    finally:
        threshold.HELD = before
    assert scan.passes == 1 and found == tuple(np.sort(np.abs(one))[-600_000] for one in scan.models)
