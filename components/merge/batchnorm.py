"""BatchNorm after averaging: the variance of an average is not the average of variances, so it is measured again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from components.types import Dataset, Diverged, Examples, Run, revision
from components.weights import Blend, Checkpoint, Combination

if TYPE_CHECKING:
    from components.models.classifier import Classifier

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
SIZE = 256  # examples of a batch


@revision(1)
def recompute(model: Checkpoint | Combination | Blend, data: Annotated[Dataset, "trains"], batches: int = 100, *, run: Run) -> Combination:
    """The model with the image tower's BatchNorm statistics measured anew, in one pass over at most `batches` batches of training data.

    A statistic is the plain average over batches of 256; an example is met at most once, in its evaluation view. What the policy says of
    statistics that differ does not matter for these. What is no linear combination is saved to the run's scratch first. Izmailov et al.
    2018, arXiv:1803.05407. ValueError where the image tower has no BatchNorm; Diverged where its statistics are not finite.
    """
    from components.evaluate import opened
    from components.models.heads import accelerator
    from components.models.module import build

    if batches < 1:
        raise ValueError(f"{batches} batches: give at least 1")
    if isinstance(model, Blend):
        model.under(replace(model.policy, bn="average")).save(f"{run.dir}/averaged")
        model = Checkpoint(f"{run.dir}/averaged")
    whole = model.combination()
    averaged = whole.under(replace(whole.policy, bn="average"))
    module, examples = build(averaged, accelerator()), opened(data, run)
    used = measure(module, examples, batches, run)
    slots = {key: slot for key, slot in module.slots().items() if key.startswith("visual.") and key.rpartition(".")[2] in BUFFERS}
    if bad := [key for key, slot in slots.items() if not slot.isfinite().all()]:
        raise Diverged(f"{bad[0]} of {model!r} is not finite on this data: its weights diverged, leave it out")
    spec = {**averaged.spec, "name": "BatchNorm statistics", "lineage": None}
    measured = Checkpoint.of({key: slot.cpu().numpy() for key, slot in slots.items()}, spec, averaged.extras)
    anew = [f"visual.*.{name}" for name in BUFFERS]
    found = whole * [*((pattern, 0) for pattern in anew), ("*", 1)] + measured.only(anew)
    return found.describe(**(averaged.spec.get("facts") or {}), batchnorm={"batches": len(used), "examples": sum(map(len, used))})


def measure(module: Classifier, examples: Examples, batches: int, run: Run) -> list[list[int]]:
    """Reset the image tower's BatchNorm layers and let them average what passes; the indices of the batches that did."""
    import numpy as np
    import torch

    from components.data import order
    from components.data.views import evaluation

    layers = [layer for layer in module.model.visual.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
    if not layers:
        raise ValueError("the image tower has no BatchNorm: there is nothing to recompute")
    if len(examples) < 2:
        raise ValueError(f"{len(examples)} examples have no variance: give more training data")
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain average
        layer.train()
    size, pixels = min(SIZE, len(examples)), evaluation(examples, module.preprocess, run)
    used = [order.batch(len(examples), size, 0, step).tolist() for step in range(min(batches, len(examples) // size))]
    with torch.no_grad():
        for indices in used:
            images = torch.from_numpy(np.stack([pixels[i] for i in indices])).permute(0, 3, 1, 2)
            module.features(images.to(module.mean.device))
    return used
