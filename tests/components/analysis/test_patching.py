"""Distances of a patch by hand, and its effect on other tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.analysis.patching import broad_transfer, distances
from components.predictions import Predictions
from components.types import Table


def line(task: str, points: dict[float, tuple[float, float]], chosen: float) -> list[dict[str, Any]]:
    return [{"task": task, "alpha": a, "supported": s, "patching": p, "chosen": "yes" if a == chosen else ""} for a, (s, p) in points.items()]


def test_distances_are_those_of_the_formulas() -> None:
    """The best alpha (0.5) is not the chosen one (0.2); a line that reaches both maxima at once is at distance 0."""
    bent = line("a", {0.0: (0.8, 0.1), 0.2: (0.8, 0.3), 0.5: (0.7, 0.6), 1.0: (0.3, 0.7)}, 0.2)
    ideal = line("b", {0.0: (0.5, 0.1), 0.5: (0.6, 0.9), 1.0: (0.3, 0.8)}, 0.5)
    first, second = distances(Table((*bent, *ideal))).rows
    assert first == {
        "task": "a", "alpha": 0.2, "supported": 0.8, "supported change": 0.0, "patching": 0.3, "patching change": pytest.approx(0.2),
        "to optimal": pytest.approx(0.1), "to optimal, chosen": pytest.approx(0.2), "to the ends": pytest.approx(0.2),
    }  # fmt: skip
    assert (second["to optimal"], second["to optimal, chosen"]) == (0, 0)
    assert second["to the ends"] == pytest.approx((0.5 + 0.8) / 2 - (0.6 + 0.9) / 2)
    assert distances(Table(tuple(bent[:-1]))).rows == ()  # the fine-tuned model was not finite


def answers(right: list[int], names: str = "id") -> Predictions:
    logits = np.eye(2, dtype=np.float32)[[0 if ok else 1 for ok in right]]
    return Predictions(np.array([f"{names}{i}" for i in range(len(right))]), np.zeros(len(right), np.int64), logits, None, ("a", "b"))


def test_broad_transfer_pairs_by_example() -> None:
    before, after = answers([1, 1, 0, 0, 0, 0]), answers([1, 0, 1, 1, 1, 0])
    found = broad_transfer({"base": [before, before], "patch": [after, before]}, ["a", "b"], "base").rows
    assert [(row["patched"], row["task"], row["n"]) for row in found] == [("patch", "a", 6), ("patch", "b", 6)]
    assert found[0]["change"] == pytest.approx(2 / 6) and found[0]["accuracy"] == pytest.approx(4 / 6)
    assert found[0]["change_low"] < found[0]["change"] < found[0]["change_high"]
    assert found[1]["change"] == 0
    with pytest.raises(ValueError, match="patch and base answered different examples of a"):
        broad_transfer({"base": [before], "patch": [answers([1] * 6, "other")]}, ["a"], "base")
