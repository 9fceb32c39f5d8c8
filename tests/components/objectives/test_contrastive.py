from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from components.data import order
from components.data.examples import Rows
from components.data.views import Augment
from components.models import build
from components.objectives.batches import Batches
from components.objectives.contrastive import Contrastive
from components.types import Batch


def batch(module: Any, texts: list[str]) -> Batch:
    rng = np.random.default_rng(5)
    images = torch.from_numpy(rng.integers(0, 256, (len(texts), 3, 32, 32), dtype=np.uint8))
    return Batch(images, torch.full((len(texts),), -1), module.tokenise(texts))


def shuffled(some: Batch, order: list[int]) -> Batch:
    assert some.tokens is not None
    return Batch(some.images[order], some.labels[order], some.tokens[order])


def gradients(module: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    module.zero_grad()
    loss.backward()
    return {key: slot.grad.clone() for key, slot in module.slots().items() if slot.grad is not None}


def test_the_loss_is_open_clip_s_and_blind_to_order_and_chunks(base: Any) -> None:
    module = build(base).requires_grad_(True)
    some, bound = batch(module, ["a cat", "a dog", "two dogs", "a red car", "a tree"]), Contrastive().bind(module)
    loss = bound(some, 0)
    theirs = open_clip.ClipLoss()(module.features(some.images), module.texts(some.tokens), module.model.logit_scale.exp())
    assert not bound.separable and loss.ndim == 0
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-6)
    assert bound(shuffled(some, [3, 1, 4, 0, 2]), 0).item() == pytest.approx(loss.item(), abs=1e-6)
    whole, pieces = gradients(module, loss), gradients(module, Contrastive(chunk=2).bind(module)(some, 0))
    assert whole.keys() == pieces.keys() and "logit_scale" in whole and "transformer.resblocks.0.mlp.c_fc.weight" in whole
    assert all(torch.allclose(whole[key], pieces[key], rtol=1e-4, atol=1e-6) for key in whole)


def test_equal_rows_cost_log_of_their_number(base: Any) -> None:
    module = build(base)
    some = shuffled(batch(module, ["a cat"]), [0, 0, 0])
    assert float(Contrastive().bind(module)(some, 0)) == pytest.approx(math.log(3), abs=1e-5)


def test_the_scale_stays_in_its_range(base: Any) -> None:
    module = build(base)
    for value, kept, largest in ((9.0, math.log(100), 100.0), (-1.0, 0.0, 100.0), (9.0, 9.0, 0.0), (2.0, math.log(5), 5.0)):
        module.model.logit_scale.fill_(value)
        Contrastive(largest_scale=largest).bind(module).constrain()
        assert float(module.model.logit_scale) == pytest.approx(kept)


def examples(captions: Any, n: int = 40, classes: tuple[str, ...] = ()) -> Rows:
    return Rows(
        np.array([str(i) for i in range(n)]), np.arange(n) % 2, np.zeros((n, 32, 32, 3), np.uint8), "d", classes=classes, captions=captions
    )


def drawn(batches: Batches, steps: int) -> list[tuple[int, tuple[int, ...]]]:
    rows = []
    for step in range(steps):
        indices = order.batch(len(batches.examples), 10, 0, step)
        tokens = batches(indices, order.seeds(10, 0, step)).tokens
        assert tokens is not None
        rows += list(zip(indices.tolist(), (tuple(row) for row in tokens.tolist()), strict=True))
    return rows


def test_captions_are_drawn_uniformly_and_by_seed_alone(base: Any) -> None:
    module = build(base)
    some = examples([[f"a {i % 7}", f"b {i % 7}", f"c {i % 7}"] for i in range(40)])
    rows = drawn(Batches(some, some.labels, Contrastive(), module, 0), 60)
    assert rows == drawn(Batches(some, some.labels, Contrastive(), module, 0), 60)
    letters = {int(module.tokenise([letter])[0, 1]): letter for letter in "abc"}
    counts = Counter(letters[tokens[1]] for _, tokens in rows)
    chi_square = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert sum(counts.values()) == 600 and chi_square < 13.8  # the 99.9 % point of two degrees of freedom
    assert all(tokens[2] == int(module.tokenise([str(index % 7)])[0, 1]) for index, tokens in rows)


def test_prompts_make_captions_of_classes(base: Any) -> None:
    module = build(base)
    some = examples(None, classes=("red_fox", "owl"))
    rows = drawn(Batches(some, some.labels, Contrastive(prompts=("a {}",)), module, 0), 4)
    expected = [tuple(row) for row in module.tokenise(["a red fox", "a owl"]).tolist()]
    assert all(tokens == expected[index % 2] for index, tokens in rows)


def test_data_without_captions_is_refused(base: Any) -> None:
    module = build(base)
    for objective in (Contrastive(), Contrastive(prompts=("a {}",), views=Augment(scale=1.0))):
        with pytest.raises(ValueError, match="needs captions"):
            Batches(examples(None), np.zeros(40, np.int64), objective, module, 0)
