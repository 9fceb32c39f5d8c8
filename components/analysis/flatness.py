"""Why a soup may be as good as an ensemble: the loss along the line between two models, measured and predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np

from components.predictions import Predictions
from components.types import Table, revision

NOTE = (
    "Loss: cross-entropy at the inverse temperature beta that suits the soup best. Predicted = flatness + confidence: -a(1-a)/2 times the curvature "
    "of the soup's loss along the line, by differences of neighbours; and a(1-a)/2 beta^2 times the mean variance, under the soup's own "
    "probabilities, of what the logits of the ends differ by. It is exact in the limit of ends that are near each other."
)


@revision(1)
def flatness(predictions: Annotated[list[Predictions], "reports"], alphas: list[float]) -> Table:
    """The soup (1 - a) x + a y against the ensemble of x and y with the same weights, along the line from x to y: loss difference and its estimate.

    predictions: of the model at each of `alphas`, the ends 0 and 1 among them, on the same examples; one row for each alpha between. Columns:
    alpha; measured with its standard error over examples (paired); predicted, the sum of flatness and confidence; beta; n. The curvature is
    as good as the grid is fine. Two linear models have both 0. ValueError for other grids. Wortsman et al. 2022, arXiv:2203.05482, section 4.
    """
    order = sorted(range(len(alphas)), key=lambda i: alphas[i])
    grid = [float(alphas[i]) for i in order]
    if len(grid) != len(predictions) or len(grid) < 3 or (grid[0], grid[-1]) != (0.0, 1.0) or len(set(grid)) < len(grid):
        raise ValueError(f"{len(predictions)} predictions at alphas {grid}: give one for each, from 0 to 1 with at least one between, each once")
    first = predictions[0]
    if any(not np.array_equal(each.ids, first.ids) for each in predictions):
        raise ValueError("the points of the line answered different examples: predict all on the same data")
    known = first.labels >= 0
    if not known.any():
        raise ValueError("none of the examples has a label: there is no loss")
    labels = first.labels[known]

    def logits(k: int) -> np.ndarray:  # when they are asked for: in float64 all points of a line on ImageNet are gigabytes
        return predictions[order[k]].logits[known].astype(np.float64)

    return Table(tuple(_row(logits, labels, grid, k) for k in range(1, len(grid) - 1)), (NOTE,))


def _row(logits: Callable[[int], np.ndarray], labels: np.ndarray, grid: Sequence[float], k: int) -> dict[str, Any]:
    """The numbers at the k-th point of the grid."""
    a, soup, start, end = grid[k], logits(k), logits(0), logits(len(grid) - 1)
    beta = inverse_temperature(soup, labels)
    gap = losses(beta * soup, labels) - losses(beta * ((1 - a) * start + a * end), labels)
    before, here, after = (float(losses(beta * logits(i), labels).mean()) for i in (k - 1, k, k + 1))
    left, right = a - grid[k - 1], grid[k + 1] - a
    curvature = 2 * (before / (left * (left + right)) - here / (left * right) + after / (right * (left + right)))
    probabilities = np.exp(_log_softmax(beta * soup))
    moved = end - start
    centred = moved - (probabilities * moved).sum(axis=1, keepdims=True)
    variance = float((probabilities * centred**2).sum(axis=1).mean())
    flat, confident = -a * (1 - a) / 2 * curvature, a * (1 - a) / 2 * beta**2 * variance
    n = len(labels)
    return {
        "alpha": a,
        "measured": float(gap.mean()),
        "measured_se": float(gap.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        "predicted": flat + confident,
        "flatness": flat,
        "confidence": confident,
        "beta": beta,
        "n": n,
    }


def losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy of each example, [N]."""
    return np.asarray(-np.take_along_axis(_log_softmax(logits), labels[:, None], axis=1)[:, 0])


def inverse_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The beta in [1/1000, 1000] with the least cross-entropy of beta * logits, which is convex in beta (arXiv:1706.04599)."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(lambda t: float(losses(np.exp(t) * logits, labels).mean()), bounds=(-np.log(1000), np.log(1000)), method="bounded")
    return float(np.exp(found.x))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    high = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(high - np.log(np.exp(high).sum(axis=1, keepdims=True)))
