"""Ranges of remote files."""

from __future__ import annotations

from itertools import pairwise

import fsspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.weights import ranges as module


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 900), st.integers(0, 100)), min_size=1, max_size=30))
def test_ranges_that_are_fetched_together_are_those_asked_for(wanted: list[tuple[str, int, int]]) -> None:
    ranges = [(f"memory://together/{name}", start, start + size) for name, start, size in wanted]
    contents = {name: np.random.default_rng(ord(name)).bytes(1000) for name in "ab"}
    filesystem = fsspec.filesystem("memory")
    for name, content in contents.items():
        filesystem.pipe_file(f"/together/{name}", content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GAP", 20)
        patch.setattr(module, "CHUNK", 200)
        spans = module.together(ranges)
        assert module.fetch(ranges) == [contents[url[-1]][start:stop] for url, start, stop in ranges]
    assert all(stop - start <= 200 for _, start, stop in spans)
    assert not any(a[0] == b[0] and b[1] <= a[2] + 20 and b[2] - a[1] <= 200 for a, b in pairwise(spans))
