"""Effective robustness: accuracy under shift beyond what accuracy in distribution explains (Taori et al. 2020, arXiv:2007.00644)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


def logit(p: np.ndarray | float, n: int | None = None) -> np.ndarray:
    """log(p / (1 - p)); with n, the size of the split, p is first clipped to [1/2n, 1 - 1/2n], for a small split does hit 0 and 1."""
    share = np.asarray(p, np.float64)
    if n is not None:
        share = np.clip(share, 1 / (2 * n), 1 - 1 / (2 * n))
    if not ((share > 0) & (share < 1)).all():
        raise ValueError("the logit of 0 or 1 is infinite: give n, the number of examples, so that shares are clipped to [1/2n, 1 - 1/2n]")
    return np.asarray(np.log(share / (1 - share)))


class Line(NamedTuple):
    """logit(accuracy under shift) = slope * logit(accuracy in distribution) + intercept."""

    slope: float
    intercept: float

    def __call__(self, in_distribution: float, n: int | None = None) -> float:
        """The accuracy under shift that this in-distribution accuracy predicts."""
        return float(1 / (1 + np.exp(-(self.slope * logit(in_distribution, n) + self.intercept))))


def fit(in_distribution: Sequence[float], shifted: Sequence[float], n: int | None = None) -> Line:
    """The least-squares line through baseline models in logit space. Fit it on baselines only, never on the models it will judge.

    ValueError where fewer than two different in-distribution accuracies leave the slope undetermined.
    """
    x, y = logit(np.asarray(in_distribution), n), logit(np.asarray(shifted), n)
    if len(x) != len(y) or len(np.unique(x)) < 2:
        raise ValueError(f"no line through {len(x)} models: give at least two of different accuracy in distribution")
    slope, intercept = np.polyfit(x, y, 1)
    return Line(float(slope), float(intercept))


def effective(line: Line, in_distribution: float, shifted: float, n: int | None = None) -> float:
    """Effective robustness: how far the accuracy under shift lies above the line, in accuracy (WiSE-FT, arXiv:2109.01903)."""
    return shifted - line(in_distribution, n)
