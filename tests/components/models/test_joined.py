"""Heads of several tasks below each other: the same rows, names that tell their task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.data.microworld.counted import CLASSES
from components.models.heads import zero_shot
from components.models.joined import joined_heads
from components.models.openclip import Config, fresh
from components.types import Local


def test_rows_are_copied_in_order_and_the_towers_stay(zero: Any, base: Any, run: Local) -> None:
    counting = zero_shot(base, CLASSES, ("a picture of {}",), run=run)
    joined = joined_heads([zero, counting], ("digits", "counting"))
    parts, whole = [dict(one.tensors()) for one in (zero, counting)], dict(joined.tensors())
    for key in ("head.weight", "head.bias"):
        assert whole[key].tobytes() == b"".join(part[key].tobytes() for part in parts)
    assert all(np.array_equal(array, parts[0][key]) for key, array in whole.items() if not key.startswith("head."))
    assert joined.spec["classes"] == [*(f"digits: {name}" for name in zero.spec["classes"]), *(f"counting: {name}" for name in CLASSES)]
    assert joined.spec["ancestry"] == zero.spec["ancestry"]


def test_what_cannot_be_joined_is_refused(zero: Any, base: Any, tiny: Config, run: Local) -> None:
    other = zero_shot(fresh(tiny, 1, run=run), CLASSES, ("{}",), run=run)
    with pytest.raises(ValueError, match="the model for b has other towers than that for a"):
        joined_heads([zero, other], ("a", "b"))
    with pytest.raises(ValueError, match="the model for b has no head"):
        joined_heads([zero, base], ("a", "b"))
    for models, names in (([], ()), ([zero, zero], ("a", "a")), ([zero], ("a", "b"))):
        with pytest.raises(ValueError, match="each a name of its own"):
            joined_heads(models, names)
