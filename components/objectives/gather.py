"""Features of all processes, with gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist


class Gather(torch.autograd.Function):
    """Rows of every process in rank order; a row's gradient is the sum of what every process says about it."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        ctx.count = len(rows)
        everyone = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, rows.contiguous())
        return torch.cat(everyone)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total[dist.get_rank() * ctx.count :][: ctx.count]


def gathered(rows: torch.Tensor) -> tuple[torch.Tensor, int]:
    """(rows of all processes, index of this process's first row); one process keeps its own."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return rows, 0
    return Gather.apply(rows), dist.get_rank() * len(rows)
