from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.predictions import NAME, Predictions
from components.types import DataError


def some(groups: bool = True) -> Predictions:
    return Predictions(
        np.array(["a/é.png", "b/2.png"]),
        np.array([1, -1]),
        np.array([[0.0, 1.5], [-0.0, 3e-30]], np.float32),
        np.array([3, 4]) if groups else None,
        ("cat", "dog, big"),
    )


@pytest.mark.parametrize("groups", [True, False])
def test_saving_and_loading_give_every_bit_back(tmp_path: Path, groups: bool) -> None:
    before = some(groups)
    before.save(str(tmp_path))
    after = Predictions.load(str(tmp_path))
    assert after.classes == before.classes
    for name in ("ids", "labels", "logits", "groups"):
        left, right = getattr(before, name), getattr(after, name)
        assert (left is None and right is None) or (left.dtype == right.dtype and left.tobytes() == right.tobytes())


def test_equal_predictions_are_equal_files(tmp_path: Path) -> None:
    assert some().save(str(tmp_path / "a")) == some().save(str(tmp_path / "b"))


def test_the_summary_counts() -> None:
    assert some().summary() == {"n": 2, "labelled": 1, "correct": 1, "classes": ["cat", "dog, big"], "skipped": []}


def test_damage_is_a_data_error(tmp_path: Path) -> None:
    some().save(str(tmp_path))
    path = tmp_path / NAME
    for content in (path.read_bytes()[:200], b"", b"not a zip"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a record of predictions"):
            Predictions.load(str(tmp_path))


def test_pickled_arrays_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / NAME, ids=np.array([{"a": 1}], dtype=object), labels=np.zeros(1), logits=np.zeros((1, 1)), classes=np.array("[]"))
    with pytest.raises(DataError):
        Predictions.load(str(tmp_path))
