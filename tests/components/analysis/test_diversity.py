"""Diversity of mistakes and of features: by hand, and what must not change it."""

from __future__ import annotations

import numpy as np
import pytest

from components.analysis.cka import cka
from components.analysis.diversity import q_statistic, ratio_error

RIGHT = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0], bool)
OTHER = np.array([1, 1, 0, 0, 1, 0, 0, 0, 0], bool)  # both right 2, only the first 2, only the other 1, both wrong 4


def test_mistakes_by_hand() -> None:
    assert ratio_error(RIGHT, OTHER) == ratio_error(OTHER, RIGHT) == 3 / 4
    assert q_statistic(RIGHT, OTHER) == q_statistic(OTHER, RIGHT) == (2 * 4 - 2 * 1) / (2 * 4 + 2 * 1)


def test_the_ends_of_the_scales() -> None:
    assert (ratio_error(RIGHT, RIGHT), q_statistic(RIGHT, RIGHT)) == (0, 1)
    assert (ratio_error(RIGHT, ~RIGHT), q_statistic(RIGHT, ~RIGHT)) == (None, -1)  # no shared error: infinite
    never = np.ones(9, bool)
    assert (ratio_error(never, never), q_statistic(never, never)) == (None, None)
    independent = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert q_statistic(*independent) == 0 and ratio_error(*independent) == 2


def test_cka_by_hand() -> None:
    x, y = np.array([[1.0], [-1.0], [0.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    # |Y'X|^2 = 1 + 1 of columns that are centred already; |X'X| = 2, |Y'Y| = |[[2, 1], [1, 2]]| = sqrt(10)
    assert cka(x, y) == pytest.approx(2 / (2 * np.sqrt(10)), rel=1e-12)


def test_cka_is_blind_to_rotation_shift_and_scale_alone() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 7)), random.normal(size=(60, 4))
    turn = np.linalg.qr(random.normal(size=(7, 7)))[0]
    assert cka(x, 3 * x @ turn + 5) == pytest.approx(1, abs=1e-12)
    order = random.permutation(60)
    assert cka(x, y) == pytest.approx(cka(y[order], x[order]), rel=1e-12)
    assert 0 < cka(x, y) < cka(x, x @ np.diag([3, 1, 1, 1, 1, 1, 1])) < 1  # type: ignore[operator]


def test_cka_of_nothing() -> None:
    assert cka(np.ones((5, 3)), np.eye(5)) is None
    with pytest.raises(ValueError, match="features of 5 and of 4 examples"):
        cka(np.eye(5), np.eye(4))
