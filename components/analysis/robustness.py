"""Effective robustness: accuracy under shift beyond what accuracy in distribution explains (Taori et al. 2020, arXiv:2007.00644)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from components.analysis.table import MEAN
from components.predictions import Predictions
from components.types import Table, revision

AT_ONCE = 50  # bootstrap draws that are in memory together


def logit(p: np.ndarray | float, n: np.ndarray | int | None = None) -> np.ndarray:
    """log(p / (1 - p)); with n, the size of the split, p is first clipped to [1/2n, 1 - 1/2n], for a small split does hit 0 and 1."""
    share = np.asarray(p, np.float64) if n is None else clipped(p, n)
    if not ((share > 0) & (share < 1)).all():
        raise ValueError("the logit of 0 or 1 is infinite: give n, the number of examples, so that shares are clipped to [1/2n, 1 - 1/2n]")
    return np.asarray(np.log(share / (1 - share)))


def clipped(p: np.ndarray | float, n: np.ndarray | int) -> np.ndarray:
    """The shares of n examples as they are, 0 and 1 as half an example away from it."""
    half = 1 / (2 * np.asarray(n))
    return np.asarray(np.clip(np.asarray(p, np.float64), half, 1 - half))


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


class Outcomes(NamedTuple):
    """What several models got right. For each split: ids str [n], sorted; right float32 [models, n]."""

    ids: tuple[np.ndarray, ...]
    right: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, answers: Mapping[str, Sequence[Predictions]], splits: Sequence[str]) -> Outcomes:
        """Of the labelled examples. ValueError where two models answered different examples, or one not every split."""
        ids, right = [], []
        if len(splits) < 2 or any(len(row) != len(splits) for row in answers.values()):
            raise ValueError(f"effective robustness on {len(splits)} splits: give the one in distribution, one or more shifts, and answers on each")
        for s, split in enumerate(splits):
            found = [sorted_marks(row[s]) for row in answers.values()]
            if wrong := [name for name, (own, _) in zip(answers, found, strict=True) if not np.array_equal(own, found[0][0])]:
                raise ValueError(f"{wrong[0]} and {next(iter(answers))} answered different examples of {split}: predict both on the same data")
            ids.append(found[0][0])
            right.append(np.stack([marks for _, marks in found]).astype(np.float32))
        return cls(tuple(ids), tuple(right))

    @property
    def sizes(self) -> np.ndarray:
        """Examples: in distribution, of all shifts together, of each shift."""
        n = [len(ids) for ids in self.ids]
        return np.array([n[0], sum(n[1:]), *n[1:]])

    def shares(self, weights: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Accuracies [draws, models, in distribution | mean of shifts | each shift] under weights [draws, n] of each split's examples."""
        weights = [np.ones((1, len(ids)), np.float32) for ids in self.ids] if weights is None else weights
        each = [w @ right.T / np.maximum(w.sum(1, keepdims=True), 1) for w, right in zip(weights, self.right, strict=True)]
        return np.stack([each[0], np.mean(each[1:], axis=0, dtype=np.float64), *each[1:]], axis=2).astype(np.float64)

    def resampled(self, draws: int, seed: int) -> np.ndarray:
        """The accuracies of `draws` bootstrap samples: an example counts Poisson(1) times, in all splits that hold its id alike."""
        known, place = np.unique(np.concatenate(self.ids), return_inverse=True)
        places = np.split(place, np.cumsum([len(ids) for ids in self.ids])[:-1])
        random, found = np.random.default_rng(seed), []
        for low in range(0, draws, AT_ONCE):
            weights = random.poisson(1.0, (min(AT_ONCE, draws - low), len(known))).astype(np.float32)
            found.append(self.shares([weights[:, at] for at in places]))
        return np.concatenate(found)


def sorted_marks(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the labelled examples, and whether each was answered correctly, in the order of the ids."""
    known = predictions.labels >= 0
    ids = np.asarray(predictions.ids, dtype=str)[known]
    order = np.argsort(ids, kind="stable")
    return ids[order], predictions.correct[known][order]


def predicted(shares: np.ndarray, sizes: np.ndarray, baselines: int) -> np.ndarray:
    """Accuracies under shift [draws, models, S] that lines through the last `baselines` models predict; NaN where those leave one undetermined.

    shares: [draws, models, 1 + S], the accuracy in distribution first; sizes: [1 + S].
    """
    x, y = logit(shares[..., :1], sizes[:1]), logit(shares[:, -baselines:, 1:], sizes[1:])
    middle = x[:, -baselines:].mean(axis=1, keepdims=True)
    off = x[:, -baselines:] - middle
    spread = (off**2).sum(axis=1, keepdims=True)
    slope = np.divide((off * y).sum(axis=1, keepdims=True), spread, out=np.full((len(y), 1, y.shape[2]), np.nan), where=spread > 1e-12)
    odds = y.mean(axis=1, keepdims=True) + slope * (x - middle)
    return np.asarray(1 / (1 + np.exp(-np.clip(odds, -500, 500))))


@revision(1)
def effective_robustness(
    models: Annotated[Mapping[str, list[Predictions]], "reports"],
    baselines: Annotated[list[list[Predictions]], "reports"],
    splits: list[str],
    draws: int = 1000,
    seed: int = 0,
) -> Table:
    """How far each model's accuracy under shift lies above what its accuracy in distribution predicts. Taori et al. 2020, arXiv:2007.00644.

    The prediction is a least-squares line in logit space through the baselines, for the mean of the shifts and for each; no judged model
    is among them. models, baselines: answers on each of `splits`, the one in distribution first. rho is in accuracy; its interval holds 95 %
    of `draws` bootstrap samples of the examples, which take all models and the lines along. ValueError where baselines are of one accuracy.
    """
    answers = {**models, **{f"baseline {i}": row for i, row in enumerate(baselines)}}
    if len(answers) != len(models) + len(baselines):
        raise ValueError("a model is named like a baseline: give it another name than `baseline 0`")
    outcomes, b = Outcomes.of(answers, splits), len(baselines)
    shares, sizes = outcomes.shares(), outcomes.sizes
    line = through(shares, sizes, b)
    rho = (shares[..., 1:] - predicted(shares, sizes, b))[0]
    drawn = outcomes.resampled(draws, seed)
    low, high = np.nanquantile(drawn[..., 1:] - predicted(drawn, sizes, b), (0.025, 0.975), axis=0)
    rows: list[dict[str, Any]] = []
    for s, split in enumerate([MEAN, *splits[1:]]):
        for m, name in enumerate(models):
            here, there, above = float(shares[0, m, 0]), float(shares[0, m, 1 + s]), float(rho[m, s])
            known = {"split": split, "model": name, "in_distribution": here, "shifted": there, "predicted": there - above}
            rows.append({**known, "rho": above, "rho_low": float(low[m, s]), "rho_high": float(high[m, s])})
    least, most = shares[0, -b:, 0].min(), shares[0, -b:, 0].max()
    away = [name for m, name in enumerate(models) if not least <= shares[0, m, 0] <= most]
    told = f"logit(shifted) = {line.slope:.2f} logit(in distribution) {line.intercept:+.2f}, through {b} baselines"
    note = f"On the mean of the shifts {told} of {100 * least:.1f} to {100 * most:.1f} % in distribution."
    note += f" Beyond that the line is extrapolated: {', '.join(away)}." if away else ""
    return Table(tuple(rows), (note, f"rho: 95 % of {draws} bootstrap samples of the examples; the trained models, baselines too, are as they are."))


def through(shares: np.ndarray, sizes: np.ndarray, baselines: int) -> Line:
    """The line through the last `baselines` models of shares [1, models, 2 + shifts] for the mean of the shifts. ValueError as `fit`."""
    here, there = (clipped(shares[0, -baselines:, k], sizes[k]) for k in (0, 1))
    return fit(here.tolist(), there.tolist())
