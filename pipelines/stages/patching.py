"""PAINT's patches of one model, and what is shown of them (Ilharco et al. 2022, arXiv:2208.05592)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from components.analysis.patching import broad_transfer, distances
from components.data.union import Union
from components.figures.accuracies import draw_accuracies
from components.figures.broad_transfer import draw_broad_transfer
from components.figures.frontiers import draw_frontiers
from components.merge.frontier import accuracies, frontiers
from components.merge.patch import chosen_from, patch, patch_parallel
from components.merge.towers import equipped, towers
from components.models.joined import joined_heads
from components.objectives.classification import CrossEntropy
from components.objectives.jointly import Jointly
from components.train import train
from components.updates.sgd import AdamW
from infra.dag import GPU, Node, call
from pipelines.report.compare import Candidate, Exhibit, Reported, versatile
from pipelines.stages.methods import specialist
from pipelines.tasks import Task, named

ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
FRONTIERS = (
    f"Test accuracy on the task that is patched, against the mean over the supported tasks, as {ALPHA} goes from 0 (the base) to 1 (fine-tuned). "
    "The star was chosen on held-out data. Bars are 95 % intervals."
)
DISTANCES = (
    f"S and P: supported and patching accuracy. To optimal: (max S + max P) / 2 less the best (S + P) / 2 of the line; chosen: less that of the "
    f"chosen {ALPHA}. To the ends: (S of the base + P of the fine-tune) / 2 less that of the chosen {ALPHA}; below 0 it beats both in their field."
)
TRANSFER = "Change from the unpatched model in points, on the same examples; bold where the 95 % interval excludes 0."
KIN = (
    "Each patched task and its kin, which no patch was trained on as they are: without the alteration, from another source, counts that were left "
    "out. Of answers that follow a written word, fewer are better."
)
CAVEAT = (
    "Patches are chosen for the mean of supported and patching accuracy on held-out data; the mean here weighs all tasks alike. The sequential "
    "patches were made in the order {order}."
)


@dataclass(frozen=True, eq=False)
class Patches:
    """All patches of a model on some tasks while it supports others; every task keeps the zero-shot head of the unpatched model."""

    patching: Sequence[Task]
    supported: Sequence[Task]
    bare: Node
    update: AdamW
    alphas: tuple[float, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        """ValueError where a task comes twice, or there is nothing to patch or to support; or for alphas outside [0, 1]."""
        chosen_from(self.alphas)
        for role, some in (("patching", self.patching), ("supported", self.supported)):
            if not some:
                raise ValueError(f"no {role} task: a patch weighs tasks that it patches against tasks that it supports; give one or more of each")
        everything = [(task, "patching") for task in self.patching] + [(task, "supported") for task in self.supported]
        for i, (one, role) in enumerate(everything):
            for other, before in everything[:i]:
                if one.name == other.name:
                    twice = "given twice" if role == before else "both patching and supported"
                    raise ValueError(f"{one.name} is {twice}: give each task once, in patching or in supported")
                if one.classes != other.classes and sorted(one.classes) == sorted(other.classes):
                    raise ValueError(f"{one.name} and {other.name} have the same classes in another order: name them in one order")

    @cached_property
    def heads(self) -> Mapping[str, Node]:
        """The frozen classifier of each task, by its name."""
        return {task.name: named(task, self.bare) for task in (*self.patching, *self.supported)}

    @cached_property
    def tuned(self) -> list[Node]:
        """The fine-tunes of the unpatched model, one a task, without heads."""
        return [call(towers, model=specialist(task, self.bare, self.update, self.seed), label=f"fine-tuned on {task.name}") for task in self.patching]

    @cached_property
    def single(self) -> list[Node]:
        """A patch for each task alone."""
        return [self._patch(self.bare, one, self.supported, [task]) for one, task in zip(self.tuned, self.patching, strict=True)]

    @cached_property
    def sequential(self) -> Node:
        """One patch after another, each from the model before; what was patched is supported from then on."""
        last = self.single[0]
        for t, task in enumerate(self.patching[1:], 1):
            init = call(equipped, model=last, head=self.heads[task.name])
            fit: dict[str, Any] = {"objective": CrossEntropy(), "data": task.train, "steps": task.steps}
            tuned = self._train(init, f"{task.name} after {self.patching[t - 1].name}", **fit)
            last = self._patch(last, tuned, [*self.supported, *self.patching[:t]], [task])
        return last

    @cached_property
    def parallel(self) -> Node:
        """The moves of all fine-tunes at once, each with a coefficient of its own."""
        return call(patch_parallel, on=GPU, base=self.bare, models=self.tuned, label="parallel patches", **self._sets(self.supported, self.patching))

    @cached_property
    def jointly_tuned(self) -> Node:
        """One fine-tune of all patching tasks, as long as theirs together."""
        names = tuple(task.name for task in self.patching)
        init = call(joined_heads, models=[self.heads[name] for name in names], names=names)
        data = Union(tuple(task.train for task in self.patching), names)
        return self._train(init, "joint fine-tune", objective=Jointly(), data=data, steps=sum(task.steps for task in self.patching))

    @cached_property
    def joint(self) -> Node:
        """The patch with one coefficient for the joint fine-tune."""
        return self._patch(self.bare, self.jointly_tuned, self.supported, self.patching)

    @cached_property
    def reported(self) -> Reported:
        """The test data of all tasks."""
        caveats = dict.fromkeys(task.caveat for task in (*self.patching, *self.supported) if task.caveat)
        order = CAVEAT.format(order=", ".join(task.name for task in self.patching))
        return Reported("patching", {task.name: task.test for task in (*self.patching, *self.supported)}, "task", caveat=" ".join([order, *caveats]))

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The rows of the table."""
        heads = {task.test: self.heads[task.name] for task in (*self.patching, *self.supported)}
        several = {"sequential patches": self.sequential, "parallel patches": self.parallel, "joint patch": self.joint}
        patches = {f"{task.name} patch": node for task, node in zip(self.patching, self.single, strict=True)} | several
        ends = {node.label: node for node in [*self.tuned, self.jointly_tuned]}
        return [
            versatile("unpatched", "zero_shot", self.bare, heads),
            *[versatile(name, "other", node, heads) for name, node in patches.items()],
            *[versatile(name, "single", node, heads, main=False) for name, node in ends.items()],
        ]

    @cached_property
    def exhibits(self) -> list[Exhibit]:
        """The lines of the single patches, how far they are from ideal ones, what they do to other tasks, and to kin of their own."""
        named, tests = [task.name for task in self.patching], [task.test for task in (*self.patching, *self.supported)]
        line = call(
            frontiers, on=GPU, base=self.bare, tuned=self.tuned, patched=self.single, tasks=named, data=tests, heads=list(self.heads.values()),
            alphas=self.alphas,
        )  # fmt: skip
        asked = {one.name: [one.answers(data) for data in tests] for one in self.candidates[: 1 + len(named)]}
        across = call(broad_transfer, predictions=asked, splits=list(self.reported.splits), baseline="unpatched", label="broad transfer")
        shares = ("supported", "patching", "accuracy", "change", "supported change", "patching change")
        gaps = ("to optimal", "to optimal, chosen", "to the ends")
        return [
            Exhibit("frontiers", "What a patch gains and costs", FRONTIERS, line, draw_frontiers, shares, terminal=11),
            Exhibit("distances", "How far from an ideal patch", DISTANCES, call(distances, frontiers=line), None, shares + gaps, latex=True),
            Exhibit("transfer", "Broad transfer", TRANSFER, across, draw_broad_transfer, shares, terminal=6),
            Exhibit("kin", "The patched tasks and their kin", KIN, self._kin(), draw_accuracies, shares, True, 14),
        ]

    def _kin(self) -> Node:
        """The unpatched model and every patch on the tests of the patched tasks and their kin."""
        sets = {(task.name, name): data for task in self.patching for name, data in {task.name: task.test, **task.kin}.items()}
        models = {one.name: one.node for one in self.candidates if one.main and one.node}
        return call(
            accuracies, on=GPU, models=list(models.values()), names=list(models), data=list(sets.values()),
            sets=[name if name == task else f"{task}: {name}" for task, name in sets], heads=[self.heads[task] for task, _ in sets],
        )  # fmt: skip

    def _train(self, init: Node, label: str, **fit: Any) -> Node:
        """The image tower fine-tuned under frozen heads, without them."""
        update = replace(self.update, seed=self.seed)
        return call(towers, model=call(train, on=GPU, init=init, update=update, params="visual.*", label=label, **fit), label=label)

    def _patch(self, base: Node, tuned: Node, kept: Sequence[Task], new: Sequence[Task]) -> Node:
        label = f"{new[0].name} patch" if len(new) == 1 else "joint patch"
        return call(patch, on=GPU, base=base, tuned=tuned, label=label, **self._sets(kept, new))

    def _sets(self, kept: Sequence[Task], new: Sequence[Task]) -> dict[str, Any]:
        """The held-out sets of a choice, with their heads."""
        heads = ([self.heads[task.name] for task in some] for some in (kept, new))
        data = ([task.held_out for task in some] for some in (kept, new))
        named = ("supported", "patching"), ("supported_heads", "patching_heads")
        return {**dict(zip(named[0], data, strict=True)), **dict(zip(named[1], heads, strict=True)), "alphas": self.alphas}
