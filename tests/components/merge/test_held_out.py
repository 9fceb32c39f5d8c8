"""Held-out counts of candidates: those of the plain path, with the weights read once for all sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from components.data.digits import CLASSES, Digits
from components.data.split import Sample, Split
from components.evaluate import outputs
from components.merge.held_out import outputs_by_head, tallies
from components.merge.towers import towers
from components.models.heads import zero_shot
from components.types import Local
from components.weights import Checkpoint

SETS = [Sample(Split(Digits(), 0.0, 0.5), 40), Sample(Split(Digits(), 0.5, 1.0), 30), Sample(Split(Digits(), 0.0, 0.5), 20)]


@pytest.fixture
def heads(zero: Any, base: Any, run: Local) -> list[Checkpoint]:
    """Three classifiers of other classes in another order: ten, twelve, and the ten again."""
    return [zero, zero_shot(base, (*CLASSES[::-1], "cat", "dog"), ("a {}",), run=run), zero]


def test_each_set_is_answered_by_its_head_to_the_last_bit(zero: Any, heads: list[Checkpoint], run: Local) -> None:
    for model in (towers(zero), 0.5 * towers(zero), zero):
        plain = [outputs(model, data, head=head, run=run) for data, head in zip(SETS, heads, strict=True)]
        at_once = list(outputs_by_head(model, SETS, heads, run))
        assert [one.logits.tobytes() for one in at_once] == [one.logits.tobytes() for one in plain]
        assert [one.classes for one in at_once] == [one.classes for one in plain]
        assert [one.labels.tolist() for one in at_once] == [one.labels.tolist() for one in plain]


def test_counts_are_those_of_the_answers_and_what_is_not_finite_has_none(zero: Any, heads: list[Checkpoint], run: Local) -> None:
    named = dict(zero.tensors())
    broken = Checkpoint.of({**named, "visual.proj": np.full_like(named["visual.proj"], np.nan)}, zero.spec, zero.extras)
    fine, bad, huge = tallies([towers(zero), towers(broken), 1e30 * towers(zero)], SETS, heads, run)
    assert fine.correct == tuple(int(outputs(zero, data, head=head, run=run).correct.sum()) for data, head in zip(SETS, heads, strict=True))
    assert (fine.error, bad.correct, huge.correct) == ("", (0, 0, 0), (0, 0, 0))
    assert "nan in visual.proj" in bad.error and "answers 40 of 40 examples with non-finite logits" in huge.error
    for wrong in ((SETS, heads[:2]), ([], [])):
        with pytest.raises(ValueError, match="give one or more sets, and the model whose head answers on each"):
            tallies([zero], *wrong, run)
