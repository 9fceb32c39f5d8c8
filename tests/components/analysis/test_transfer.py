from __future__ import annotations

import numpy as np
import pytest

from components.analysis.intervals import paired
from components.analysis.transfer import transfer
from components.metrics import wilson
from components.predictions import Predictions

IDS, LABELS = np.array([str(i) for i in range(8)]), np.zeros(8, np.int64)


def answers(right: str) -> Predictions:
    return Predictions(IDS, LABELS, np.array([[float(r), 0.5] for r in right], np.float32))


def test_each_model_stands_beside_the_baseline_on_the_same_examples() -> None:
    base, soup = transfer({"zero-shot": answers("11100000"), "soup": answers("11011110")}, "zero-shot").rows
    assert (base["top1"], base["difference"], base["verdict"], base["n"]) == (3 / 8, None, "baseline", 8)
    assert (base["top1_low"], base["top1_high"]) == wilson(3, 8)
    assert (soup["difference"], soup["difference_low"], soup["difference_high"]) == paired(4, 1, 8)[:3]


def test_other_examples_and_names_are_refused() -> None:
    other = Predictions(IDS[::-1] + "x", LABELS, answers("00000000").logits)
    with pytest.raises(ValueError, match="different examples"):
        transfer({"a": answers("11100000"), "b": other}, "a")
    with pytest.raises(ValueError, match="not a model of the table"):
        transfer({"a": answers("11100000")}, "b")
