from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from components.models import build
from components.objectives.classification import CrossEntropy, partners, weight
from components.types import Batch


def batch(n: int = 6, seed: int = 0) -> Batch:
    rng = np.random.default_rng(5)
    images = torch.from_numpy(rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8))
    return Batch(images, torch.from_numpy(rng.integers(0, 10, n)), None, seed)


def test_losses_are_per_example_and_match_the_formula(zero: Any) -> None:
    module, some = build(zero), batch()
    losses = CrossEntropy(smoothing=0.2).bind(module)(some, 0)
    target = 0.8 * one_hot(some.labels, 10) + 0.2 / 10
    assert losses.detach().numpy() == pytest.approx(-(target * module(some.images).log_softmax(-1)).sum(-1).detach().numpy(), rel=1e-5)


def test_mixup_mixes_images_and_targets_with_one_weight(zero: Any) -> None:
    module, some = build(zero), batch(seed=3)
    share, other = weight(0.4, 3, 11), partners(6)
    pixels = module.normalised(some.images)
    logits = module(share * pixels + (1 - share) * pixels[other])
    target = share * one_hot(some.labels, 10) + (1 - share) * one_hot(some.labels[other], 10)
    expected = -(target * logits.log_softmax(-1)).sum(-1)
    found = CrossEntropy(mixup=0.4).bind(module)(some, 11)
    assert found.detach().numpy() == pytest.approx(expected.detach().numpy(), rel=1e-4)


def test_mixup_weights_depend_on_seed_and_step_alone() -> None:
    drawn = {(seed, step): weight(0.3, seed, step) for seed in range(3) for step in range(50)}
    assert all(0.5 <= share <= 1 for share in drawn.values())
    assert len(set(drawn.values())) == len(drawn)
    assert drawn == {key: weight(0.3, *key) for key in drawn}


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_partners_are_mutual_and_stay_within_even_pieces(n: int) -> None:
    other = partners(n)
    assert [other[k] for k in other] == list(range(n))
    assert partners(n)[:2] == partners(2)[: n if n < 2 else 2] or n == 1


def test_bad_knobs_and_models(base: Any) -> None:
    for knobs in ({"smoothing": 1.0}, {"smoothing": -0.1}, {"mixup": -1.0}):
        with pytest.raises(ValueError, match="smoothing"):
            CrossEntropy(**knobs)
    with pytest.raises(ValueError, match="needs a head"):
        CrossEntropy().bind(build(base))
