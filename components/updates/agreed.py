"""What the processes of one training must agree on before a step: the state that rank 0 restored, and whether it ends early."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from components.types import Run
from components.updates import state
from components.updates.state import Tensors

State = tuple[str, dict[str, Tensors], dict[str, Any]]  # folder, groups of tensors, facts


def restored(run: Run, device: str) -> State | None:
    """The newest training state, on every process the one that rank 0 has; None where that has none."""
    folder = run.restore()
    found: State | None = (folder, *state.read(folder)) if folder else None
    if run.world == 1:
        return found
    layout: list[Any] = [None]
    if found:
        layout = [(folder, {group: {key: (value.shape, value.dtype) for key, value in named.items()} for group, named in found[1].items()}, found[2])]
    dist.broadcast_object_list(layout)
    if layout[0] is None:
        return None
    folder, shapes, facts = layout[0]
    groups: dict[str, Tensors] = {}
    for group, named in shapes.items():
        for key, (shape, dtype) in named.items():
            value = found[1][group][key].to(device) if found else torch.empty(shape, dtype=dtype, device=device)
            dist.broadcast(value, 0)
            groups.setdefault(group, {})[key] = value.cpu()  # as one process reads it, and no second state in an accelerator's memory
    return folder, groups, facts


def stops(run: Run, step: int, steps: int, value: float) -> bool:
    """Whether a search stops the training at this step: rank 0 asks, and all do as it was told."""
    answer: list[Any] = [run.enough(step, steps, value)]
    if run.world > 1:
        dist.broadcast_object_list(answer)
    return bool(answer[0])
