"""How alike two models see the same examples: centred kernel alignment of their features."""

from __future__ import annotations

import numpy as np


def cka(first: np.ndarray, second: np.ndarray) -> float | None:
    """Linear CKA of features [N, D] and [N, E] of the same examples, in [0, 1]; None where one of them is constant.

    |Y'X|^2 / (|X'X| |Y'Y|), Frobenius, columns centred, in float64: memory D x E. Rotations, shifts and scales do not change it; on few examples
    it is biased upwards. Kornblith et al. 2019, arXiv:1905.00414.
    """
    if len(first) != len(second):
        raise ValueError(f"features of {len(first)} and of {len(second)} examples: give those of the same examples")
    x, y = (each - each.mean(axis=0) for each in (first.astype(np.float64), second.astype(np.float64)))
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / own) if own else None
