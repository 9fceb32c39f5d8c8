"""The picture of pairs: its words, its panels, and the rank correlation that it tells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from components.figures import style
from components.figures.pairs import draw_pairs, rank_correlation

ROWS = [
    {"angle": 20.0 + 5 * i, "advantage": 0.01 * ((3 * i) % 7), "ratio_error": None if i == 2 else 1.0 + i % 3, "cka": 0.9, "group": "ab"[i % 2]}
    for i in range(8)
]


def test_rank_correlation_is_spearman_s() -> None:
    x, y = np.array([1.0, 2, 2, 5, 9, 9]), np.array([3.0, 1, 4, 4, 7, 5])
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert rank_correlation(x, np.ones(6)) is None and rank_correlation(x, np.exp(x)) == pytest.approx(1)


def test_panels_are_of_what_varies_and_tell_what_they_hold() -> None:
    text = style.svg(draw_pairs(ROWS), "pairs")
    assert text == style.svg(draw_pairs(ROWS), "pairs")
    known = rank_correlation(np.array([row["angle"] for row in ROWS]), np.array([row["advantage"] for row in ROWS]))
    assert f"rank correlation {known:+.2f}, 8 pairs" in text and ", 7 pairs" in text  # one pair has no ratio
    assert "unshared / shared errors" in text and "CKA of the features" not in text and ">a<" in text and ">b<" in text


def test_one_pair_is_a_picture_too() -> None:
    assert "angle between the moves" in style.svg(draw_pairs([{**ROWS[0], "group": "a"}]), "pairs")
    assert style.png(draw_pairs([])).startswith(b"\x89PNG")
