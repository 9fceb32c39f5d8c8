"""One step after another: micro-batches, mixed precision, processes, clipping, the optimiser and its state."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.modules.batchnorm import _BatchNorm

from components.data import chance, order
from components.types import Batch, Run

Tensors = dict[str, torch.Tensor]
SUM = "weights"  # in the state: what no optimiser calls a tensor of its own


class Stepper:
    """Called with (batch, step), makes the step and returns its mean loss over all processes, a detached scalar.

    update: a Descent; bound: an objective's module; trained: the parameters to change, by name; steps: of the whole run.
    """

    def __init__(self, update: Any, bound: Any, trained: Mapping[str, torch.nn.Parameter], steps: int, run: Run) -> None:
        self.update, self.bound, self.trained, self.steps, self.rank, self.world = update, bound, trained, steps, run.rank, run.world
        self.device = bound.classifier.mean.device
        self._check()
        wide, narrow = ([value for value in trained.values() if (value.ndim >= 2) == decays] for decays in (True, False))
        self.optimiser = update.optimiser(
            [{"params": wide, "weight_decay": update.weight_decay}] * bool(wide) + [{"params": narrow, "weight_decay": 0.0}] * bool(narrow)
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=update.precision == "amp_float16")
        self.sums: Tensors = {}  # of each trained tensor over the last steps, where `update.average` asks for their mean
        self.module: Any = bound
        if self.world > 1:
            ids = [self.device.index or 0] if self.device.type == "cuda" else None
            # an objective may leave trained parameters alone (the text tower under cross-entropy)
            self.module = torch.nn.parallel.DistributedDataParallel(bound, device_ids=ids, find_unused_parameters=True)

    def _check(self) -> None:
        update = self.update
        if update.precision != "float32" and self.device.type == "cpu":
            raise ValueError(f"precision {update.precision} needs an accelerator and this is a CPU: set update.precision to float32")
        if update.accumulation > 1 and not self.bound.separable:
            raise ValueError("accumulation would change what this objective compares: leave it at 1 and set objective.chunk to save memory")
        trains = (any(slot.requires_grad for slot in part.parameters()) for part in self.bound.modules() if isinstance(part, _BatchNorm))
        if update.average and any(trains):
            raise ValueError("update.average leaves BatchNorm's statistics behind, and here BatchNorm trains: freeze it by params, or average 0")
        if update.batch % self.world:
            raise ValueError(f"batch {update.batch} does not divide among {self.world} processes: choose a multiple")

    def draw(self, n: int, step: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """This process's share of the step's examples, and a seed for each: example k of step s is a function of (seed, s, k)."""
        update = self.update
        share = update.batch // self.world
        mine = slice(self.rank * share, (self.rank + 1) * share)
        return order.batch(n, update.batch, update.seed, step)[mine], order.seeds(update.batch, update.seed, step)[mine]

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return float(self.update.rate(step, self.steps))

    def __call__(self, batch: Batch, step: int) -> torch.Tensor:
        torch.manual_seed(int(chance.bits(self.update.seed, 5, step, self.rank)))  # dropout: nothing to save for a resume
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        self.optimiser.zero_grad(set_to_none=True)
        try:
            total = self._differentiate(split(batch, self.update.accumulation), len(batch.labels), step)
        except torch.OutOfMemoryError as error:
            pieces = f"a batch of {self.update.batch} on {self.world} processes in {self.update.accumulation} micro-batches"
            raise MemoryError(f"{pieces} does not fit into the accelerator's memory: raise update.accumulation") from error
        self.scaler.unscale_(self.optimiser)
        if self.update.clip:
            torch.nn.utils.clip_grad_norm_(self.trained.values(), self.update.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.bound.constrain()
        if step >= self.steps - round(self.update.average * self.steps):
            self._average(step)
        if self.world > 1:
            torch.distributed.all_reduce(total)
        return total / self.world

    def _average(self, step: int) -> None:
        """Add the weights to their sums, in float64; after the last step the mean takes their place."""
        count = round(self.update.average * self.steps)
        with torch.no_grad():
            for key, value in self.trained.items():
                total = self.sums.setdefault(key, torch.zeros_like(value, dtype=torch.float64))
                total += value
                if step + 1 == self.steps:
                    value.copy_(total / count)

    def _differentiate(self, pieces: list[Batch], n: int, step: int) -> torch.Tensor:
        """The loss over this process's n examples, its gradient left in the parameters."""
        total = torch.zeros((), device=self.device)
        for k, piece in enumerate(pieces):
            with self._synchronised(k == len(pieces) - 1):
                with self._precision():
                    losses = self.module(self._moved(piece), step)
                loss = losses.sum() / n if self.bound.separable else losses
                self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _synchronised(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last or self.world == 1 else self.module.no_sync()

    def _precision(self) -> AbstractContextManager[Any]:
        if self.update.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.update.precision == "amp_bfloat16" else torch.float16)

    def _moved(self, batch: Batch) -> Batch:
        if self.device.type == "cpu":
            return batch
        tokens = None if batch.tokens is None else batch.tokens.to(self.device, non_blocking=True)
        return Batch(batch.images.to(self.device, non_blocking=True), batch.labels.to(self.device, non_blocking=True), tokens, batch.seed)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """The optimiser's tensors and the sums of an average by `{parameter}/{name}`, and what is not a tensor."""
        found = {
            f"{key}/{name}": value
            for key, parameter in self.trained.items()
            for name, value in self.optimiser.state.get(parameter, {}).items()
            if value is not None
        } | {f"{key}/{SUM}": value for key, value in self.sums.items()}
        return found, {"scaler": self.scaler.state_dict()}

    def restore(self, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        for path, value in tensors.items():
            key, _, name = path.rpartition("/")
            parameter = self.trained[key]
            if name == SUM:
                self.sums[key] = value.to(parameter.device)
                continue
            self.optimiser.state[parameter][name] = value.to(parameter.device)
        self.scaler.load_state_dict(dict(facts["scaler"]))


def split(batch: Batch, count: int) -> list[Batch]:
    """At most `count` micro-batches, of even size but for the last."""
    n, tokens = len(batch.labels), batch.tokens
    size = n if count == 1 else 2 * -(-n // (2 * count))
    pieces = [slice(at, at + size) for at in range(0, n, size)]
    return [Batch(batch.images[p], batch.labels[p], None if tokens is None else tokens[p], batch.seed) for p in pieces]
