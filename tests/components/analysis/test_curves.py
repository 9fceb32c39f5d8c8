"""Points of interpolation lines as a table, against counts, and the point at which held-out data stops."""

from __future__ import annotations

import numpy as np
import pytest

from components.analysis.curves import BASELINE, curves
from components.analysis.intervals import share
from components.analysis.table import MEAN, tabulate
from components.merge import best
from components.predictions import Predictions
from components.weights import Checkpoint

N, ALPHAS, SPLITS = 100, [0.0, 0.5, 1.0], ["test", "noise", "blur"]


def answers(seed: int, correct: int) -> Predictions:
    labels = np.arange(N) % 3
    right = np.random.default_rng(seed).permutation(N) < correct
    return Predictions(np.array([str(i) for i in range(N)]), labels, np.eye(3, dtype=np.float32)[np.where(right, labels, labels - 2)])


def points(*correct: tuple[int, int, int]) -> list[list[Predictions]]:
    return [[answers(10 * k + s, n) for s, n in enumerate(each)] for k, each in enumerate(correct)]


LINES = {"whole": points((50, 60, 40), (70, 62, 41), (90, 50, 30)), "head": points((50, 60, 40), (60, 60, 45), (80, 55, 35))}
HELD = {"whole": [answers(1, 50), answers(2, 80), answers(3, 80)], "head": [answers(1, 50), answers(2, 60), answers(3, 75)]}
BASELINES = points((60, 50, 30), (85, 60, 35))


def test_each_point_has_its_counts_and_the_baselines_come_last() -> None:
    table = curves(LINES, HELD, BASELINES, ALPHAS, SPLITS)
    assert [row["split"] for row in table.rows[::8]] == [MEAN, "noise", "blur"] and len({tuple(row) for row in table.rows}) == 1
    assert [(row["line"], row["alpha"]) for row in table.rows[:8]] == [(n, a) for n in LINES for a in ALPHAS] + [(BASELINE, None)] * 2
    middle = table.rows[8 + 1]  # noise, whole, 0.5
    assert (middle["in_distribution"], middle["in_distribution_low"], middle["in_distribution_high"]) == pytest.approx(tuple(share(70, N)))
    assert (middle["shifted"], middle["shifted_low"], middle["shifted_high"], middle["held_out"]) == pytest.approx((*share(62, N), 0.8))
    for row in table.rows:
        if row["line"] == BASELINE:  # of two baselines the line goes through both
            assert row["predicted"] == pytest.approx(row["shifted"], abs=1e-6)
    mean = next(row for row in tabulate({"a": LINES["whole"][1]}, SPLITS, "a").rows if row["split"] == MEAN)
    expected = [mean[name] for name in ("top1", "low", "high")]
    assert [table.rows[1][name] for name in ("shifted", "shifted_low", "shifted_high")] == pytest.approx(expected)


def test_the_chosen_point_is_the_best_on_held_out_data_and_of_equals_the_nearest_to_zero_shot() -> None:
    table = curves(LINES, HELD, BASELINES, ALPHAS, SPLITS)
    models = [Checkpoint.of({"w": np.array([float(i)])}, {"model_cfg": {}, "ancestry": "root"}) for i in range(3)]
    for name in LINES:
        chosen = [row["alpha"] for row in table.rows if row["line"] == name and row["split"] == MEAN and row["chosen"]]
        assert chosen == [ALPHAS[best(models, HELD[name]).facts["members"][0]]]
    assert [row["alpha"] for row in table.rows[:6] if row["chosen"]] == [0.5, 1.0]


def test_missing_points_are_refused() -> None:
    with pytest.raises(ValueError, match="3 alphas: give them from the smallest on, and one point of each line for each"):
        curves({**LINES, "head": LINES["head"][:2]}, HELD, BASELINES, ALPHAS, SPLITS)
    with pytest.raises(ValueError, match="from the smallest on"):
        curves(LINES, HELD, BASELINES, ALPHAS[::-1], SPLITS)
    with pytest.raises(ValueError, match="no line the name baseline"):
        curves({BASELINE: LINES["head"]}, {BASELINE: HELD["head"]}, BASELINES, ALPHAS, SPLITS)
