"""Several tasks in one fine-tune: each example against its own task's classes, and one task is no other thing than that task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from components.data import Digits, Split
from components.data.microworld.counted import CLASSES, Counted
from components.data.union import Union
from components.models import build
from components.models.heads import zero_shot
from components.models.joined import joined_heads
from components.objectives.classification import CrossEntropy
from components.objectives.jointly import Jointly
from components.train import train
from components.types import Batch, Local
from components.updates.sgd import AdamW

DATA = Split(Digits(), 0.0, 0.2)
COUNTED = Counted(n=60)


@pytest.fixture
def counting(base: Any, run: Local) -> Any:
    return zero_shot(base, CLASSES, ("a picture of {}",), run=run)


def bits(model: Any) -> dict[str, bytes]:
    return {key: array.tobytes() for key, array in model.tensors()}


def test_joint_with_one_task_is_the_single_fine_tune_bit_for_bit(zero: Any, run: Local) -> None:
    fit: dict[str, Any] = {"update": AdamW(lr=1e-3, batch=16, warmup=2), "params": "visual.*", "steps": 6, "run": run}
    single = train(zero, DATA, CrossEntropy(), **fit)
    joint = train(joined_heads([zero], ("digits",)), Union((DATA,), ("digits",)), Jointly(), **fit)
    assert bits(joint) == bits(single) != bits(zero)
    assert joint.spec["facts"]["training"][-1]["loss"] == single.spec["facts"]["training"][-1]["loss"]


def test_losses_are_those_of_each_task_alone(zero: Any, counting: Any, run: Local) -> None:
    module = build(joined_heads([zero, counting], ("digits", "counting")))
    rng = np.random.default_rng(5)
    images = torch.from_numpy(rng.integers(0, 256, (8, 3, 32, 32), dtype=np.uint8))
    labels = torch.tensor([0, 12, 9, 10, 15, 3, 11, 7])
    losses = Jointly().bind(module)(Batch(images, labels), 0)
    logits = module(images)
    own = torch.where(labels < 10, cross_entropy(logits[:, :10], labels.clamp(max=9), reduction="none"), 0)
    own = own + torch.where(labels >= 10, cross_entropy(logits[:, 10:], (labels - 10).clamp(min=0), reduction="none"), 0)
    assert torch.allclose(losses, own, rtol=1e-6) and torch.isfinite(losses).all()


def test_a_task_does_not_touch_the_rows_of_another(zero: Any, counting: Any) -> None:
    module = build(joined_heads([zero, counting], ("digits", "counting")))
    assert module.head is not None
    module.head.requires_grad_(True)
    images = torch.zeros((4, 3, 32, 32), dtype=torch.uint8)
    Jointly().bind(module)(Batch(images, torch.tensor([10, 11, 12, 15])), 0).sum().backward()
    gradient = module.head.weight.grad
    assert gradient is not None and not gradient[:10].any() and gradient[10:].any(dim=1).all()


def test_a_joint_fine_tune_learns_both_tasks_and_moves_no_head(zero: Any, counting: Any, run: Local) -> None:
    joined = joined_heads([zero, counting], ("digits", "counting"))
    data = Union((DATA, COUNTED), ("digits", "counting"))
    tuned = train(joined, data, Jointly(), update=AdamW(lr=3e-3, batch=32, warmup=2), params="visual.*", steps=30, run=run)
    before, after = bits(joined), bits(tuned)
    assert {key for key in before if before[key] != after[key]} <= {key for key in before if key.startswith("visual.")}
    first = train(joined, data, Jointly(), update=AdamW(lr=0.0, batch=32, warmup=2), params="visual.*", steps=10, run=run)
    assert tuned.spec["facts"]["training"][-1]["loss"] < first.spec["facts"]["training"][-1]["loss"]


def test_a_head_that_does_not_name_tasks_is_refused(zero: Any, base: Any) -> None:
    for model in (zero, base):
        with pytest.raises(ValueError, match="'task: class': build one with joined_heads"):
            Jointly().bind(build(model))
