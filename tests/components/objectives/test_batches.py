from __future__ import annotations

import threading
from typing import Any

import pytest

from components.objectives.batches import ahead


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_come_in_order_whoever_makes_them(device: str) -> None:
    made: Any = list(ahead(lambda step: step * step, 3, 40, device))  # type: ignore[arg-type,return-value]
    assert made == [(step, step * step) for step in range(3, 40)]
    assert list(ahead(lambda step: step, 5, 5, device)) == []  # type: ignore[arg-type,return-value]


def test_an_accelerator_waits_for_no_more_than_a_few_batches_and_leaves_no_thread() -> None:
    before, asked = threading.active_count(), []
    stream = ahead(asked.append, 0, 1000, "cuda")  # type: ignore[arg-type]
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(asked) < 200 and threading.active_count() == before


def test_a_broken_image_is_reported_at_its_step() -> None:
    def make(step: int) -> Any:
        if step == 2:
            raise OSError("image 2")
        return step

    stream = ahead(make, 0, 9, "cuda")
    assert [next(stream)[0], next(stream)[0]] == [0, 1]
    with pytest.raises(OSError, match="image 2"):
        next(stream)
