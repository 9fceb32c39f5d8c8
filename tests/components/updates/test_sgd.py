from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from components.models import build
from components.objectives.classification import CrossEntropy
from components.objectives.contrastive import Contrastive
from components.types import Batch, Local
from components.updates.sgd import SGD, AdamW, Descent
from components.updates.stepper import split


def test_the_schedule() -> None:
    update = AdamW(lr=2.0, warmup=4)
    rates = [update.rate(step, 12) for step in range(12)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[8] == pytest.approx(1.0) and rates[11] == pytest.approx(1 + math.cos(math.pi * 7 / 8))
    assert rates[4:] == sorted(rates[4:], reverse=True)


@pytest.mark.parametrize("warmup", [5, 6, 500])
def test_a_warm_up_longer_than_the_run_is_cut_to_it(warmup: int) -> None:
    assert [AdamW(lr=1.0, warmup=warmup).rate(step, 5) for step in range(5)] == [0.2, 0.4, 0.6, 0.8, 1.0]


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert SGD(lr=0.5, warmup=0).rate(0, 3) == 0.5


BAD: list[dict[str, Any]] = [{"lr": -1.0}, {"batch": 0}, {"accumulation": 0}, {"batch": 4, "accumulation": 5}, {"clip": -1.0}, {"average": 1.1}]


@pytest.mark.parametrize("knobs", BAD)
def test_bad_knobs_are_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"not negative|0 to 1"):
        AdamW(**knobs)


def stepper(zero: Any, update: Descent, run: Local, objective: Any = None) -> Any:
    module = build(zero)
    bound = (objective or CrossEntropy()).bind(module)
    trained = {key: slot for key, slot in bound.slots().items() if isinstance(slot, torch.nn.Parameter)}
    for slot in trained.values():
        slot.requires_grad_(True)
    return update.bind(bound, trained, 10, run)


def batch(n: int) -> Batch:
    rng = np.random.default_rng(5)
    return Batch(torch.from_numpy(rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)), torch.from_numpy(rng.integers(0, 10, n)))


def test_small_tensors_do_not_decay(zero: Any, run: Local) -> None:
    made = stepper(zero, AdamW(weight_decay=0.3), run)
    for group in made.optimiser.param_groups:
        assert all((value.ndim >= 2) == (group["weight_decay"] == 0.3) for value in group["params"])
    assert sum(len(group["params"]) for group in made.optimiser.param_groups) == len(made.trained)


@pytest.mark.parametrize("objective", [CrossEntropy(), CrossEntropy(mixup=0.5, smoothing=0.1)])
@pytest.mark.parametrize("accumulation", [2, 3, 5])
def test_micro_batches_make_the_same_step(zero: Any, run: Local, objective: Any, accumulation: int) -> None:
    results = []
    for count in (1, accumulation):
        made = stepper(zero, SGD(lr=0.1, batch=10, warmup=0, accumulation=count, clip=0.5), run, objective)
        losses = [float(made(batch(10), step)) for step in range(3)]
        results.append((losses, {key: value.detach().clone() for key, value in made.trained.items()}))
    (one, whole), (other, pieces) = results
    assert other == pytest.approx(one, rel=1e-5)
    assert all(torch.allclose(whole[key], pieces[key], rtol=1e-4, atol=1e-6) for key in whole)


@pytest.mark.parametrize(("n", "count"), [(10, 3), (7, 2), (8, 8), (1, 1), (5, 1)])
def test_micro_batches_are_the_batch_in_even_pieces(n: int, count: int) -> None:
    pieces = split(batch(n), count)
    assert len(pieces) <= count and all(len(piece.labels) % 2 == 0 for piece in pieces[:-1])
    assert torch.equal(torch.cat([piece.labels for piece in pieces]), batch(n).labels)


def test_the_gradient_is_clipped(zero: Any, run: Local) -> None:
    moved = []
    for clip in (0.001, 0.0):
        made = stepper(zero, SGD(lr=1.0, momentum=0.0, weight_decay=0.0, warmup=0, batch=10, clip=clip), run)
        before = {key: value.detach().clone() for key, value in made.trained.items()}
        made(batch(10), 0)
        moved.append(math.sqrt(sum(float(((value.detach() - before[key]) ** 2).sum()) for key, value in made.trained.items())))
    assert moved[0] == pytest.approx(0.001, rel=1e-2) and moved[1] > 0.1


def test_accumulation_of_a_contrastive_loss_is_refused(base: Any, run: Local) -> None:
    with pytest.raises(ValueError, match="would change what this objective compares"):
        stepper(base, AdamW(batch=4, accumulation=2), run, Contrastive())


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a machine without a GPU says")
@pytest.mark.parametrize("precision", ["amp_bfloat16", "amp_float16"])
def test_mixed_precision_without_an_accelerator_is_refused(zero: Any, run: Local, precision: Any) -> None:
    with pytest.raises(ValueError, match="needs an accelerator"):
        stepper(zero, AdamW(precision=precision), run)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["amp_bfloat16", "amp_float16"])
def test_mixed_precision_learns(zero: Any, run: Local, precision: Any) -> None:
    made = stepper(zero, AdamW(lr=1e-3, warmup=0, precision=precision), run)
    losses = [float(made(batch(10), step)) for step in range(10)]
    assert losses[-1] < losses[0]


def test_a_batch_must_divide_among_processes(zero: Any, run: Local) -> None:
    run.world = 3
    with pytest.raises(ValueError, match="does not divide among 3 processes"):
        stepper(zero, AdamW(batch=10), run)


def test_a_step_that_does_not_fit_says_what_was_asked(zero: Any, run: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    made = stepper(zero, AdamW(batch=10, accumulation=2), run)

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(made.bound.classifier, "forward", full)
    with pytest.raises(MemoryError, match="a batch of 10 on 1 processes in 2 micro-batches does not fit"):
        made(batch(10), 0)
