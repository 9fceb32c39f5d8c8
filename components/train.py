"""The training loop. There is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, Literal

from components.evaluate import aligned, answers, opened
from components.metrics import Top1
from components.predictors.head import Head
from components.types import Dataset, Diverged, Examples, Metric, Objective, Run, Score, Update, ranks, revision

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from components.models.classifier import Classifier
    from components.objectives.bound import Bound
    from components.weights import Checkpoint, Vector

EVERY = 10  # steps between reports; a count, not a clock, so that two runs report alike
Patterns = str | tuple[str, ...]


@revision(1)
@dataclass(frozen=True)
class Monitor:
    """Watch a metric on held-out data every so many steps and at the end; `best` returns the best weights seen, of equals the first."""

    data: Annotated[Dataset, "selects"]
    metric: Metric = Top1()
    every: int = 100
    keep: Literal["last", "best"] = "last"


@ranks
@revision(1)
def train(
    init: Vector,
    data: Annotated[Dataset, "trains"],
    objective: Objective,
    *,
    update: Update,
    params: Patterns = "*",
    steps: int,
    reference: Vector | None = None,
    monitor: Monitor | None = None,
    run: Run,
) -> Checkpoint:
    """`steps` steps of `update` from `init` on `data`, minimising `objective`.

    params: globs over the checkpoint's names, the first match wins and `!pattern` freezes; what nothing matches is frozen, and frozen
    means byte-identical in the result. reference: a second checkpoint that the objective compares with. 0 steps return `init`.
    Interrupted and resumed it gives the same losses and weights, on a CPU bit for bit. Diverged names the step whose loss is not finite.
    Several processes (`run.world`) share each batch, in the gradients' mean and in the losses as one with as many micro-batches.
    A search may stop it where its monitor looks: it gives the weights that the monitor keeps, and says so in the checkpoint's facts.
    """
    import torch

    from components.models.heads import accelerator
    from components.models.module import build
    from components.objectives.batches import Batches, ahead
    from components.updates import agreed, state

    if steps < 0:
        raise ValueError(f"{steps} steps: give 0 or more")
    device = accelerator()
    module = build(init, device)
    bound = objective.bind(module, None if reference is None else build(reference, device)).to(device)
    trained = choose(bound, params)
    live = trained | {key: slot for key, slot in bound.slots().items() if not isinstance(slot, torch.nn.Parameter)}
    stepper = update.bind(bound, trained, steps, run)
    examples = opened(data, run)
    batches = Batches(examples, targets(examples, module, objective), objective, module, update.seed)  # type: ignore[attr-defined]
    watch = Watch(monitor, module, live, run)
    start, loss, losses, stopped = 0, None, [], dict[str, int]()

    if found := agreed.restored(run, device):
        folder, groups, facts = found
        state.fill(live, groups["model"], folder)
        stepper.restore(groups.get("optimiser", {}), facts)
        watch.restore(groups.get("best", {}), facts)
        start, loss, losses = facts["step"], facts["loss"], facts["losses"]

    def settled() -> list[float]:
        """The losses since the last report as numbers; Diverged where one is not finite."""
        losses[:] = map(float, losses)
        for number, value in enumerate(losses, step + 2 - len(losses)):
            if not isfinite(value):
                raise Diverged(f"the loss is {value} at step {number}: lower the learning rate, or lengthen the warm-up")
        return losses

    def write(folder: str) -> None:
        tensors, facts = stepper.state()
        groups = {"model": live, "optimiser": tensors, "best": watch.best}
        state.write(folder, groups, {**facts, "step": step + 1, "loss": loss, "losses": settled(), "seen": watch.seen})

    training(bound)
    coming = batches.coming(stepper.draw, start, steps)
    for step, batch in ahead(lambda step: batches(*stepper.draw(len(examples), step)), start, steps, device, coming):
        losses.append(stepper(batch, step))
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            loss = sum(settled()) / len(losses)
            losses.clear()
            run.log(step + 1, loss=loss, lr=stepper.rate(step))
        if watch.due(step + 1, steps):
            watch.look(step + 1)
            training(bound)
            if agreed.stops(run, step + 1, steps, watch.worth):
                settled()
                stopped = {"stopped": step + 1}
                break
        run.checkpoint(step + 1, write)

    watch.back()
    for key, slot in live.items():
        if steps and slot.is_floating_point() and not slot.isfinite().all():
            raise Diverged(f"{key} is not finite after step {steps}: lower the learning rate, or lengthen the warm-up")
    stage = {
        "objective": described(objective),
        "update": described(update),
        "params": params if isinstance(params, str) else list(params),
        "steps": steps,
        "examples": len(examples),
        "skipped": len(examples.skipped),
        "loss": loss,
        "monitor": watch.seen,
        **stopped,
    }
    return result(init, live, stage)


def choose(bound: Bound, params: Patterns) -> dict[str, nn.Parameter]:
    """The parameters that train, by name, told so. An objective's own train unless a pattern freezes them."""
    from torch import nn

    patterns = (params,) if isinstance(params, str) else tuple(params)
    trained, names = {}, []
    for key, slot in bound.slots().items():
        if isinstance(slot, nn.Parameter):
            names.append(key)
            match = next((pattern for pattern in patterns if fnmatchcase(key, pattern.removeprefix("!"))), None)
            slot.requires_grad_(key.startswith("objective.") if match is None else not match.startswith("!"))
            if slot.requires_grad:
                trained[key] = slot
    if not trained:
        raise ValueError(f"params {params!r} leaves nothing to train: match some of {', '.join(names[:3])}, ... {names[-1]}")
    return trained


def training(module: nn.Module, inherited: bool = False) -> None:
    """Training mode where something trains: a frozen BatchNorm keeps its statistics, a frozen tower drops nothing out."""
    own = [parameter.requires_grad for parameter in module.parameters()]
    module.training = any(own) if own else inherited
    for child in module.children():
        training(child, module.training)


def targets(examples: Examples, module: Classifier, objective: Objective) -> np.ndarray:
    """Labels as rows of the head, or as they are where the objective does not read them. ValueError where a label is missing."""
    import numpy as np

    if not len(examples):
        raise ValueError("no example to train on: the dataset or split is empty")
    if not objective.labelled:
        return np.asarray(examples.labels, np.int64)
    labels = aligned(examples, module.classes)
    if unknown := int((labels < 0).sum()):
        raise ValueError(f"{unknown} of {len(labels)} examples have no label, and {type(objective).__name__} needs one for each")
    return labels


class Watch:
    """What a Monitor has seen, and the best weights so far where it keeps them."""

    def __init__(self, monitor: Monitor | None, module: Classifier, live: Mapping[str, torch.Tensor], run: Run) -> None:
        from components.data.views import evaluation

        self.monitor, self.module, self.live, self.run = monitor, module, live, run
        self.examples = None if monitor is None else opened(monitor.data, run)
        if self.examples is not None:
            evaluation(self.examples, module.preprocess, run)  # decoded now: between steps this would count as a training that hangs
        self.best: dict[str, torch.Tensor] = {}
        self.seen: dict[str, Any] | None = None

    def due(self, step: int, steps: int) -> bool:
        return self.monitor is not None and (step % self.monitor.every == 0 or step == steps)

    @property
    def worth(self) -> float:
        """The score of what is kept by now, its sign so that more is better."""
        assert self.monitor is not None and self.seen is not None
        return float(self.seen["value"]) * (1 if self.monitor.metric.ascending else -1)

    def look(self, step: int) -> None:
        """Score the module as it is; remember its weights where they are better than all before."""
        assert self.monitor is not None and self.examples is not None
        self.module.eval()
        score: Score = self.monitor.metric(answers(self.module, Head(), self.examples, self.run), "monitor")
        self.run.log(step, **{score.metric: score.value})
        sign = 1 if self.monitor.metric.ascending else -1
        if self.monitor.keep == "last" or self.seen is None or sign * score.value > sign * self.seen["value"]:
            self.seen = {"metric": score.metric, "value": score.value, "step": step}
            if self.monitor.keep == "best":
                self.best = {key: slot.detach().clone() for key, slot in self.live.items()}

    def restore(self, best: dict[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Take back what was seen before an interruption."""
        self.best, self.seen = best, facts["seen"]

    def back(self) -> None:
        """Return to the best weights, where they were kept."""
        import torch

        with torch.no_grad():
            for key, value in self.best.items():
                self.live[key].copy_(value)


def described(knob: Any) -> Any:
    """A frozen dataclass as JSON: its name and its fields."""
    if not dataclasses.is_dataclass(knob):
        return list(knob) if isinstance(knob, tuple) else knob
    return {"is": type(knob).__name__, **{field.name: described(getattr(knob, field.name)) for field in dataclasses.fields(knob)}}


def result(init: Vector, live: Mapping[str, torch.Tensor], stage: Mapping[str, Any]) -> Checkpoint:
    """The trained weights in the storage dtypes of `init`, everything else of `init` byte for byte, and the story of the training."""
    import numpy as np

    from components.weights import Checkpoint
    from components.weights.layout import CODES, narrow

    def stored(key: str, array: np.ndarray) -> np.ndarray:
        if key not in live:
            return array
        value = live[key].detach().cpu().numpy()
        return narrow(value.astype(np.float64), CODES[array.dtype]) if live[key].is_floating_point() else value.astype(array.dtype)

    before = (init.spec.get("facts") or {}).get("training", [])
    spec = {**init.spec, "facts": {"training": [*before, stage]}, "lineage": None}  # trained weights are a leaf
    return Checkpoint.of({key: stored(key, array) for key, array in init.tensors()}, spec, init.extras)
