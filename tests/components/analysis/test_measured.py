"""The table of a task's own metric."""

from __future__ import annotations

import numpy as np
import pytest

from components.analysis.measured import measured
from components.metrics import WorstGroup
from components.predictions import Predictions


def test_each_model_is_measured_on_each_split() -> None:
    def answers(right: list[int]) -> Predictions:
        logits = np.eye(2, dtype=np.float32)[[1 - mark for mark in right]]
        return Predictions(np.array(list("abcd")), np.zeros(4, np.int64), logits, np.array([0, 0, 1, 1]))

    table = measured({"one": [answers([1, 1, 1, 0]), answers([1, 1, 1, 1])], "two": [answers([0, 0, 1, 1])] * 2}, ["here", "there"], WorstGroup())
    assert [(row["model"], row["split"], row["n"], row["value"]) for row in table.rows] == [
        ("one", "here", 2, 0.5), ("one", "there", 2, 1.0), ("two", "here", 2, 0.0), ("two", "there", 2, 0.0),
    ]  # fmt: skip
    assert all(row["value_low"] <= row["value"] <= row["value_high"] and row["metric"] == "worst group" for row in table.rows)
    with pytest.raises(ValueError, match="one has 1 predictions for 2 splits: give one for each"):
        measured({"one": [answers([1, 1, 1, 0])]}, ["here", "there"], WorstGroup())
