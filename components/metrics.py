"""Numbers from predictions: integer counts where there are counts, ties by the smaller class index, a 95 % interval with each.

Only labelled examples count (a label of -1 means unknown). Counts are what selections compare; `value` is for people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from components.types import Metric, Score, revision

if TYPE_CHECKING:
    import numpy as np

    from components.predictions import Predictions

Z = 1.959963984540054  # the 97.5 % point of the normal distribution


def wilson(correct: int, n: int) -> tuple[float, float]:
    """The Wilson 95 % interval of a proportion, inside [0, 1] for every count (Wilson 1927)."""
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} correct of {n}: a proportion needs 0 <= correct <= n and n > 0")
    p, square = correct / n, Z * Z / n
    middle, half = (p + square / 2) / (1 + square), Z * math.sqrt(p * (1 - p) / n + square / n / 4) / (1 + square)
    return max(0.0, middle - half) if correct else 0.0, min(1.0, middle + half) if correct < n else 1.0


def ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes are ahead of the true one, [N]: larger logits, and equal logits of a smaller index."""
    import numpy as np

    own = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    ahead: np.ndarray = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return ahead


def labelled(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """(logits, labels) of the examples that have a label."""
    known = predictions.labels >= 0
    if not known.any():
        raise ValueError(f"none of the {len(known)} examples has a label: nothing can be scored")
    return predictions.logits[known], predictions.labels[known]


def proportion(metric: str, split: str, correct: int, n: int) -> Score:
    """A count of correct answers as a Score with its Wilson interval."""
    low, high = wilson(correct, n)
    return Score(metric, split, n, correct / n, low, high, correct)


@revision(1)
@dataclass(frozen=True)
class Top1(Metric):
    """The share of examples whose largest logit is the label's."""

    def __call__(self, predictions: Predictions, split: str = "") -> Score:
        logits, labels = labelled(predictions)
        return proportion("top-1", split, int((logits.argmax(axis=1) == labels).sum()), len(labels))


@revision(1)
@dataclass(frozen=True)
class TopK(Metric):
    """The share of examples whose label is among the k largest logits."""

    k: int = 5

    def __call__(self, predictions: Predictions, split: str = "") -> Score:
        logits, labels = labelled(predictions)
        return proportion(f"top-{self.k}", split, int((ranks(logits, labels) < self.k).sum()), len(labels))


@revision(1)
@dataclass(frozen=True)
class MeanPerClass(Metric):
    """Recall averaged over the classes that occur in the labels, each class with equal weight.

    The interval is normal, with the variance of each class's recall taken after one success and one failure were added,
    so that a class of three examples that are all right does not claim certainty.
    """

    def __call__(self, predictions: Predictions, split: str = "") -> Score:
        import numpy as np

        logits, labels = labelled(predictions)
        right = logits.argmax(axis=1) == labels
        counts = np.bincount(labels, minlength=logits.shape[1])
        hits = np.bincount(labels[right], minlength=logits.shape[1])[counts > 0]
        counts = counts[counts > 0]
        value, smoothed = float((hits / counts).mean()), (hits + 1) / (counts + 2)
        half = Z * math.sqrt(float((smoothed * (1 - smoothed) / counts).sum())) / len(counts)
        return Score("mean per class", split, len(labels), value, max(0.0, value - half), min(1.0, value + half))


@revision(1)
@dataclass(frozen=True)
class CalibrationError(Metric):
    """Expected calibration error: |accuracy - confidence| over equal-width bins of confidence, weighted by their counts (arXiv:1706.04599).

    Confidence is the largest softmax probability; a bin is (low, high]. The interval is the percentile bootstrap over examples
    (200 draws, seed 0); the estimate is biased upwards on few examples, and so is its interval.
    """

    bins: int = 15
    ascending: ClassVar[bool] = False

    def __call__(self, predictions: Predictions, split: str = "") -> Score:
        import numpy as np

        logits, labels = labelled(predictions)
        shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        confidence = shifted.max(axis=1) / shifted.sum(axis=1)
        gap = (logits.argmax(axis=1) == labels) - confidence
        where = np.clip(np.ceil(confidence * self.bins).astype(np.int64) - 1, 0, self.bins - 1)

        def error(chosen: np.ndarray) -> float:
            return float(np.abs(np.bincount(where[chosen], gap[chosen], self.bins)).sum() / len(chosen))

        n, rng = len(labels), np.random.default_rng(0)
        low, high = np.percentile([error(rng.integers(n, size=n)) for _ in range(200)], [2.5, 97.5])
        value = error(np.arange(n))
        return Score("calibration error", split, n, value, min(value, float(low)), max(value, float(high)))


@revision(1)
@dataclass(frozen=True)
class MacroF1(Metric):
    """The F1 score averaged over the classes that occur in the labels, as WILDS has it (arXiv:2012.07421).

    A class that is only predicted is no member of the mean; what it took is missing from the recall of others.

    The interval is the percentile bootstrap over examples (200 draws, seed 0), of the classes that occur in each draw.
    """

    def __call__(self, predictions: Predictions, split: str = "") -> Score:
        import numpy as np

        logits, labels = labelled(predictions)
        answers, classes = logits.argmax(axis=1), logits.shape[1]

        def mean(chosen: np.ndarray) -> float:
            here, said = labels[chosen], answers[chosen]
            true, given, right = (np.bincount(column, minlength=classes) for column in (here, said, here[here == said]))
            return float((2 * right[true > 0] / (true + given)[true > 0]).mean())

        n, rng = len(labels), np.random.default_rng(0)
        value = mean(np.arange(n))
        low, high = np.percentile([mean(rng.integers(n, size=n)) for _ in range(200)], [2.5, 97.5])
        return Score("macro F1", split, n, value, min(value, float(low)), max(value, float(high)))


@revision(1)
@dataclass(frozen=True)
class WorstGroup(Metric):
    """The accuracy of the group that is answered worst, with that group's count and Wilson interval; being the lowest of several, it is biased down.

    ignored: groups that do not count, as FMoW's region "Other" (arXiv:2012.07421). ValueError where the data has no groups, or none is left.
    """

    ignored: tuple[int, ...] = ()

    def __call__(self, predictions: Predictions, split: str = "") -> Score:
        import numpy as np

        labelled(predictions)
        if predictions.groups is None:
            raise ValueError("the worst group needs groups and the data has none: score it by Top1, or give data that names groups")
        known = predictions.labels >= 0
        groups, right = predictions.groups[known], predictions.correct[known]
        counts = [(int(right[groups == group].sum()), int((groups == group).sum())) for group in np.unique(groups) if group not in self.ignored]
        if not counts:
            raise ValueError(f"none of {len(groups)} examples is of a group that counts (ignored: {', '.join(map(str, self.ignored))})")
        correct, n = min(counts, key=lambda pair: pair[0] / pair[1])
        return proportion("worst group", split, correct, n)
