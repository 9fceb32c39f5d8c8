from __future__ import annotations

from typing import Any

import torch

from components.data.digits import Digits
from components.data.split import Sample
from components.models import build
from components.objectives.ascent import Ascent
from components.objectives.classification import CrossEntropy
from components.objectives.contrastive import Contrastive
from components.train import train
from components.types import Batch, Local
from components.updates.sgd import SGD


def test_it_is_the_inner_objective_negated_with_its_views_and_needs(zero: Any) -> None:
    inner, module = CrossEntropy(smoothing=0.1), build(zero)
    some = Batch(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)), torch.arange(4))
    up, down = Ascent(inner).bind(module), inner.bind(module)
    assert torch.equal(up(some, 0), -down(some, 0)) and up.separable
    assert up.slots().keys() == down.slots().keys()
    assert (Ascent(inner).views, Ascent(inner).labelled, Ascent(inner).captioned) == (inner.views, True, False)
    paired = Contrastive(prompts=("the digit {}",))
    assert Ascent(paired).captioned and Ascent(paired).prompts == paired.prompts and not Ascent(paired).bind(module).separable


def test_a_step_up_undoes_a_step_down(zero: Any, run: Local) -> None:
    """One step of plain descent on the same batch, in both directions, and what is frozen stays byte for byte."""
    fit: dict[str, Any] = {"update": SGD(lr=0.01, batch=8, warmup=0, clip=0.0, momentum=0.0), "params": "visual.*", "steps": 1, "run": run}
    trained = [train(zero, Sample(Digits(), 8), objective, **fit) for objective in (CrossEntropy(), Ascent(CrossEntropy()))]
    start, down, up = (dict(one.tensors()) for one in (zero, *trained))
    moved = [key for key in start if down[key].tobytes() != start[key].tobytes()]
    assert moved and all(key.startswith("visual.") for key in moved)
    for key in moved:
        torch.testing.assert_close(torch.from_numpy(up[key] - start[key]), torch.from_numpy(start[key] - down[key]), rtol=1e-2, atol=1e-7)
    assert all(up[key].tobytes() == start[key].tobytes() for key in start if key not in moved)
