"""Gradient descent: AdamW and SGD with a warm-up, a cosine to zero, clipping, accumulation and mixed precision."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from components.types import Run, Update, revision

if TYPE_CHECKING:
    import torch

    from components.updates.stepper import Stepper

Groups = list[dict[str, Any]]


@dataclass(frozen=True)
class Descent(Update):
    """What every descent has.

    lr: reached after `warmup` steps of lr (step + 1) / warmup, then a cosine to 0; a warm-up longer than the run is cut to it.
    weight_decay: never on tensors of fewer than two dimensions (biases, norms, logit_scale). batch: examples of one step, over all
    processes and micro-batches. clip: largest gradient norm, 0 is off. accumulation: micro-batches, the same step in less memory.
    precision: mixed precision needs an accelerator and is refused without one. seed: of order, views and every other draw.
    average: the share of the steps, the last ones, over which the weights are averaged; the mean is the result (arXiv:2110.10832). 0 is off.
    """

    lr: float = 2e-5
    weight_decay: float = 0.1
    batch: int = 256
    warmup: int = 500
    clip: float = 1.0
    accumulation: int = 1
    precision: Literal["float32", "amp_bfloat16", "amp_float16"] = "float32"
    seed: int = 0
    average: float = 0.0

    def __post_init__(self) -> None:
        if min(self.lr, self.weight_decay, self.warmup, self.clip) < 0 or self.batch < 1 or not 1 <= self.accumulation <= self.batch:
            raise ValueError(f"{self}: rates and counts are not negative, batch is at least 1, accumulation is 1 to batch")
        if not 0 <= self.average <= 1:
            raise ValueError(f"average {self.average}: it is the share of the steps, the last ones, whose weights are averaged: 0 to 1")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, from 0."""
        warmup = min(self.warmup, steps)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    def optimiser(self, groups: Groups) -> torch.optim.Optimizer:
        """torch's optimiser for these parameter groups."""
        raise NotImplementedError

    def bind(self, bound: Any, trained: dict[str, torch.nn.Parameter], steps: int, run: Run) -> Stepper:
        """What makes one step after another of the parameters `trained` of a bound objective."""
        from components.updates.stepper import Stepper

        return Stepper(self, bound, trained, steps, run)


@revision(1)
@dataclass(frozen=True)
class AdamW(Descent):
    """AdamW (arXiv:1711.05101). The defaults fine-tune CLIP as model soups do (arXiv:2203.05482)."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def optimiser(self, groups: Groups) -> torch.optim.Optimizer:
        import torch

        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps, fused=True)


@revision(1)
@dataclass(frozen=True)
class SGD(Descent):
    """Stochastic gradient descent with heavy-ball momentum; its weight decay is an L2 penalty."""

    lr: float = 0.01
    weight_decay: float = 0.0
    momentum: float = 0.9

    def optimiser(self, groups: Groups) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, fused=True)
