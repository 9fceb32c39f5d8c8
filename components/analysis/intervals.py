"""How sure a number is: an interval for one model, for the difference of two on the same examples, and over shifts and seeds.

Every interval here is two-sided, 95 % and deterministic.

| question | method |
|---|---|
| one accuracy, from a count | Wilson's score interval |
| two models, the same examples | Tango's score interval (1998), p-value from McNemar's mid-p test |
| the mean of several splits | variance clustered by example id: a corrupted copy of an image is not a new image |
| several seeds | expanded percentile bootstrap (Hesterberg 2014, arXiv:1411.5279) |
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, erfc, inf, sqrt
from typing import NamedTuple, cast

import numpy as np

from components.metrics import Z, wilson

Outcomes = tuple[np.ndarray, np.ndarray]  # example ids [N], value of each example [N] (correct: 0 or 1; a difference: -1, 0 or 1)


class Estimate(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """A paired difference, its 95 % interval and a two-sided p-value; `verdict` reads the interval alone."""

    value: float
    low: float
    high: float
    p: float

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval excludes 0, else `no evidence`."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no evidence"


def share(correct: float, n: float) -> Estimate:
    """The share `correct / n` with Wilson's score interval; n may be an effective number of examples, which is not whole."""
    return Estimate(correct / n, *wilson(cast(int, correct), cast(int, n)))


def paired(gained: int, lost: int, n: int) -> Difference:
    """The difference of two accuracies on the same n examples: `gained` only the first got right, `lost` only the second.

    Tango's score interval inverts the score test of `difference = d`, so it stays within [-1, 1] and keeps its width where the two
    never disagree. The p-value is McNemar's mid-p (Fagerland, Lydersen and Laake 2013): exact, without the exact test's caution.
    """
    if min(gained, lost) < 0 or gained + lost > n or n <= 0:
        raise ValueError(f"no paired interval for {gained} gained and {lost} lost of {n}: give counts with gained + lost <= n and n > 0")
    value = (gained - lost) / n
    return Difference(value, _tango_end(gained, lost, n, -1.0), _tango_end(gained, lost, n, 1.0), _mid_p(gained, lost))


def _tango_score(gained: int, lost: int, n: int, d: float) -> float:
    """Tango's statistic for the hypothesis that the true difference is d: falls from +inf to -inf as d goes from -1 to 1."""
    a, b, c = 2 * n, (2 * n - gained + lost) * d - gained - lost, -lost * d * (1 - d)
    likely = (sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)  # share of examples lost, given d
    variance = n * (2 * likely + d * (1 - d))
    gap = gained - lost - n * d
    return gap / sqrt(variance) if variance > 0 else inf * gap if gap else 0.0


def _tango_end(gained: int, lost: int, n: int, side: float) -> float:
    """The end of Tango's interval on that side of the estimate, by bisection to the last bit."""
    inside, outside = (gained - lost) / n, side
    if inside == outside:
        return outside
    while (middle := (inside + outside) / 2) not in (inside, outside):
        if abs(_tango_score(gained, lost, n, middle)) <= Z:
            inside = middle
        else:
            outside = middle
    return inside


def _mid_p(gained: int, lost: int) -> float:
    """McNemar's mid-p value: the two-sided exact probability, with half the weight on the outcome itself."""
    m, k = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    return float(min(1.0, (2 * sum(comb(m, i) for i in range(k + 1)) - comb(m, k)) / 2**m))


def _mean_and_variance(parts: Sequence[Outcomes]) -> tuple[float, float, int]:
    """The equally weighted mean of the parts' means, its variance clustered by example id, and the number of clusters."""
    if not parts or any(len(ids) == 0 or len(ids) != len(values) for ids, values in parts):
        raise ValueError("no mean over these splits: give at least one split, each with at least one example and one value per example")
    means = [float(np.mean(values)) for _, values in parts]
    spread = [(np.asarray(v, np.float64) - m) / (len(parts) * len(v)) for (_, v), m in zip(parts, means, strict=True)]
    _, cluster = np.unique(np.concatenate([np.asarray(ids, dtype=str) for ids, _ in parts]), return_inverse=True)
    totals = np.bincount(cluster, weights=np.concatenate(spread))
    return float(np.mean(means)), float(totals @ totals), len(totals)


def mean_accuracy(parts: Sequence[Outcomes]) -> Estimate:
    """The mean accuracy over splits, each of equal weight, with Wilson's interval at the effective number of examples.

    The effective number is the one whose binomial variance equals the variance clustered by example id: for one split it is n,
    for eight corruptions of the same n images it lies between n and 8 n, according to how alike the mistakes are.
    """
    value, variance, clusters = _mean_and_variance(parts)
    effective = value * (1 - value) / variance if variance > 0 else clusters
    return share(value * effective, effective)._replace(value=value)


def mean_difference(parts: Sequence[Outcomes]) -> Difference:
    """The mean over splits of a paired difference (values -1, 0, 1), with a normal interval on the variance clustered by example id."""
    value, variance, clusters = _mean_and_variance(parts)
    variance *= clusters / max(1, clusters - 1)
    half, p = Z * sqrt(variance), 1.0
    if value:
        p = erfc(abs(value) / sqrt(2 * variance)) if variance > 0 else 0.0
    return Difference(value, max(-1.0, value - half), min(1.0, value + half), p)


def over_seeds(values: Sequence[float], *, draws: int = 20_000, seed: int = 0) -> Estimate:
    """The mean over seeds with an expanded percentile bootstrap interval, reproducible by `seed`.

    The plain percentile interval is far too narrow for the handful of seeds that one can afford; its percentiles are moved out to where
    a t interval would lie (Hesterberg 2014, arXiv:1411.5279). It never leaves [min, max]: below four seeds it is that range.
    """
    from scipy.special import ndtr, stdtrit

    sample = np.asarray(values, np.float64)
    if len(sample) < 2:
        raise ValueError(f"no interval over {len(sample)} seed: run at least two")
    n = len(sample)
    tail = float(ndtr(-sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975)))
    means = sample[np.random.default_rng(seed).integers(0, n, (draws, n))].mean(axis=1)
    low, high = np.quantile(means, (tail, 1 - tail))
    return Estimate(float(sample.mean()), float(low), float(high))
