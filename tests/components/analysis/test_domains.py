"""The table of held-out domains by hand, and which of the two validation scores chooses."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from components.analysis.domains import by_domain
from components.merge import best
from components.predictions import Predictions
from components.weights import Checkpoint


def answers(right: int, n: int, source: str = "a") -> Predictions:
    logits = np.zeros((n, 2), np.float32)
    logits[:right, 1] = 1.0
    return Predictions(np.array([f"{source}/{i}" for i in range(n)]), np.ones(n, np.int64), logits)


def test_methods_have_errors_over_examples_and_runs_over_runs() -> None:
    runs = {"from pretrained": [[answers(5, 10), answers(7, 10)], [answers(10, 20), answers(16, 20)]]}
    table = by_domain({"ERM": [answers(8, 10), answers(16, 20)]}, runs, ["first", "second"])
    single, erm = table.rows
    assert (single["model"], single["runs"], erm["runs"]) == ("mean of single runs, from pretrained", 2, 1)
    assert [single["first"], single["second"], single["mean"]] == pytest.approx([0.6, 0.65, 0.625])
    assert [single["first_se"], single["second_se"], single["mean_se"]] == pytest.approx([0.1, 0.15, 0.125])
    assert [erm["first"], erm["mean"]] == pytest.approx([0.8, 0.8])
    assert [erm["first_se"], erm["second_se"]] == pytest.approx([np.sqrt(0.016), np.sqrt(0.008)])
    assert erm["mean_se"] == pytest.approx(np.sqrt(0.016 + 0.008) / 2)
    with pytest.raises(ValueError, match="ERM has 1 entries for 2 domains"):
        by_domain({"ERM": [answers(8, 10)]}, {}, ["first", "second"])


def test_of_imbalanced_domains_each_image_counts_the_same() -> None:
    """Sample-weighted (micro) validation chooses otherwise than the mean over domains (macro): 97 : 90 of 100 and 2 : 8 of 10."""
    models = [Checkpoint.of({"visual.proj": np.full((2, 2), i, np.float32)}, {"ancestry": "root"}) for i in range(2)]
    counts = [(97, 2), (90, 8)]
    merged = []
    for large, small in counts:
        both = [answers(large, 100, "large"), answers(small, 10, "small")]
        merged.append(Predictions(*(np.concatenate([getattr(each, name) for each in both]) for name in ("ids", "labels", "logits"))))
    micro = [Fraction(sum(pair), 110) for pair in counts]
    macro = [(Fraction(large, 100) + Fraction(small, 10)) / 2 for large, small in counts]
    assert (micro.index(max(micro)), macro.index(max(macro))) == (0, 1)
    assert best(models, merged).facts["members"] == [0]
