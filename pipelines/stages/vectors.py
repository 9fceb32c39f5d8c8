"""Task vectors of one model: their sums, negations and analogies, and what is shown of them (Ilharco et al. 2023, arXiv:2212.04089)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import isfinite
from typing import Any

from components.analysis.analogies import analogies
from components.analysis.cosine import task_cosines
from components.analysis.forgetting import forgetting
from components.analysis.normalised import additions
from components.figures.additions import draw_additions
from components.figures.analogies import draw_analogies
from components.figures.cosines import draw_task_cosines
from components.figures.forgetting import draw_forgetting
from components.merge import dare, random_vector, ties
from components.merge.addition import addition
from components.merge.analogy import chosen_analogy
from components.merge.negation import negation
from components.merge.towers import towers
from components.objectives.ascent import Ascent
from components.objectives.classification import CrossEntropy
from components.types import Objective
from components.updates.sgd import AdamW
from infra.dag import GPU, Node, call
from pipelines.report.compare import Candidate, Exhibit, Reported, headed, versatile
from pipelines.stages.methods import specialist
from pipelines.tasks import Task, named

METHODS = ["pretrained", "fine-tuned", "gradient ascent", "random vector", "negative task vector"]
ADDED = (
    "Accuracy over that of each task's own fine-tune, the mean of the tasks that were added. Every coefficient was chosen on held-out data. "
    "Bars are 95 % intervals."
)
FORGOTTEN = (
    "Test accuracy on the target that is to be forgotten and on the control, {control}. Coefficients were chosen on held-out data, where the control "
    "keeps {keep:.0%} of its answers. The random vector is as long as the task vector in each tensor. The ascent has no coefficient."
)
COSINES = "Cosine between task vectors, the moves of the fine-tunes from the base over all weights of the towers. Near 0: unrelated moves."
ANALOGY = "Test accuracy on {d}, which the analogy never trained on: {a} is to {b} as {c} is to {d}. Its coefficient was chosen on held-out {d}."


@dataclass(frozen=True, eq=False)
class Vectors:
    """The task vectors of some tasks; every task keeps the zero-shot head of the base, and the image tower alone moves.

    control: what forgetting must not harm; coefficients: those that are tried; keep: the part of the control's answers that must remain.
    """

    tasks: Sequence[Task]
    control: Task
    bare: Node
    update: AdamW
    coefficients: tuple[float, ...]
    keep: float
    seed: int = 0

    def __post_init__(self) -> None:
        """ValueError for fewer than two tasks, one that comes twice or has another's classes in another order, a control that is a target."""
        if len(self.tasks) < 2:
            raise ValueError(f"task arithmetic needs two or more tasks, whose vectors can be added, got {len(self.tasks)}")
        if not self.coefficients or not all(map(isfinite, self.coefficients)) or not 0 <= self.keep <= 1:
            raise ValueError(f"coefficients {list(self.coefficients)}, keep {self.keep}: give one or more finite numbers, and a part from 0 to 1")
        for i, one in enumerate(self.tasks):
            if set(_sources(one)) & set(_sources(self.control)) or one.name == self.control.name:
                raise ValueError(f"the control {self.control.name} shows images of {one.name}, which is to be forgotten: choose another control")
            for other in self.tasks[:i]:
                if one.name == other.name:
                    raise ValueError(f"two tasks are called {one.name}: give each once, or give it another name")
                if one.classes != other.classes and sorted(one.classes) == sorted(other.classes):
                    raise ValueError(f"{one.name} and {other.name} have the same classes in another order: name them in one order")

    @cached_property
    def all(self) -> list[Node]:
        """The towers fine-tuned on each task."""
        return [self._trained(task) for task in self.tasks]

    @cached_property
    def heads(self) -> dict[str, Node]:
        """The frozen classifier of each task and of the control, by its name."""
        return {task.name: named(task, self.bare) for task in (*self.tasks, self.control)}

    @cached_property
    def reported(self) -> Reported:
        """The test data of all tasks."""
        caveats = dict.fromkeys(task.caveat for task in self.tasks if task.caveat)
        return Reported("arithmetic", {task.name: task.test for task in self.tasks}, "task", caveat=" ".join(caveats))

    @cached_property
    def _singles(self) -> list[Node]:
        return [headed(model, task.held_out, self.heads[task.name]) for task, model in zip(self.tasks, self.all, strict=True)]

    def added(self, chosen: Sequence[int], models: Sequence[Node], label: str, scale: float = 1.0) -> Node:
        """The sum of the moves of `models`, with the coefficient that serves these tasks best on held-out data."""
        tasks = [self.tasks[i] for i in chosen]
        given: dict[str, Any] = {"data": [task.held_out for task in tasks], "heads": [self.heads[task.name] for task in tasks]}
        given |= {"singles": [self._singles[i] for i in chosen], "coefficients": tuple(scale * each for each in self.coefficients)}
        return call(addition, on=GPU, base=self.bare, models=list(models), label=label, **given)

    def sums(self, k: float, p: float) -> dict[str, Node]:
        """All tasks in one model: task arithmetic, TIES and DARE. TIES averages those who agree, and is tried up to twice as far."""
        everyone = range(len(self.tasks))
        kept = call(ties, base=self.bare, models=self.all, k=k)
        dropped = call(dare, base=self.bare, models=self.all, p=p, seed=self.seed, coefficient=float(len(everyone)))
        made = {"task arithmetic": (self.all, 1.0), "TIES": ([kept], 2.0), "DARE": ([dropped], 1.0)}
        return {name: self.added(everyone, models, name, scale) for name, (models, scale) in made.items()}

    def candidates(self, sums: Mapping[str, Node]) -> list[Candidate]:
        """The rows of the table."""
        heads = {task.test: self.heads[task.name] for task in self.tasks}
        return [
            versatile("zero-shot", "zero_shot", self.bare, heads),
            *[versatile(node.label, "single", node, heads) for node in self.all],
            *[versatile(name, "other", node, heads) for name, node in sums.items()],
        ]

    def additions(self, sums: Mapping[str, Node]) -> Exhibit:
        """Every pair of tasks, and all of them, by what they keep."""
        everyone = tuple(range(len(self.tasks)))
        rows = {f"all {len(everyone)}: {name}": (everyone, node) for name, node in sums.items()}
        if len(everyone) > 2:
            pairs = {f"{self.tasks[a].name} + {self.tasks[b].name}": (a, b) for a, b in combinations(everyone, 2)}
            rows = {name: (pair, self.added(pair, [self.all[i] for i in pair], name)) for name, pair in pairs.items()} | rows

        def asked(model: Node | None, chosen: Sequence[int]) -> list[Node]:
            return [self._tested(model or self.all[i], self.tasks[i]) for i in chosen]

        table = call(
            additions,
            merged={name: asked(node, chosen) for name, (chosen, node) in rows.items()},
            singles={name: asked(None, chosen) for name, (chosen, _) in rows.items()},
            before={name: asked(self.bare, chosen) for name, (chosen, _) in rows.items()},
            models={name: node for name, (_, node) in rows.items()},
        )
        shares = ("normalised", "worst", "zero_shot")
        return Exhibit("additions", "Adding task vectors", ADDED, table, draw_additions, shares, latex=True)

    def negations(self) -> Exhibit:
        """Each task forgotten in four ways."""
        models = {task.name: self._forgotten(task, model) for task, model in zip(self.tasks, self.all, strict=True)}
        asked = [{task.name: [self._tested(one, on or task) for one in models[task.name]] for task in self.tasks} for on in (None, self.control)]
        table = call(forgetting, target=asked[0], control=asked[1], models=models, methods=METHODS)
        caption = FORGOTTEN.format(control=self.control.name, keep=self.keep)
        shares, first = ("target_accuracy", "control_accuracy", "kept"), 2 * len(METHODS)
        return Exhibit("negations", "Forgetting by negation", caption, table, draw_forgetting, shares, latex=True, terminal=first)

    def _forgotten(self, task: Task, model: Node) -> list[Node]:
        """A model for each of METHODS."""
        data, heads = [task.held_out, self.control.held_out], [self.heads[task.name], self.heads[self.control.name]]
        chosen: dict[str, Any] = {"on": GPU, "data": data, "heads": heads, "coefficients": self.coefficients, "keep": self.keep}
        noise = call(random_vector, base=self.bare, model=model, seed=self.seed, label=f"a random vector as long as {task.name}")
        edited = [call(negation, base=self.bare, model=one, label=f"less {one.title}", **chosen) for one in (noise, model)]
        return [self.bare, model, self._trained(task, Ascent(CrossEntropy())), *edited]

    def cosines(self) -> Exhibit:
        """How alike the tasks are."""
        table = call(task_cosines, base=self.bare, models={task.name: model for task, model in zip(self.tasks, self.all, strict=True)})
        return Exhibit("task_cosines", "How alike the tasks are", COSINES, table, draw_task_cosines)

    def analogy(self, four: Sequence[Task]) -> Exhibit:
        """The last of four tasks by analogy to the others."""
        if len(four) != 4:
            raise ValueError(f"an analogy of {len(four)} tasks: give four, the first is to the second as the third is to the fourth; or none")
        for i, one in enumerate(four):
            if one.name in [other.name for other in four[:i]]:
                raise ValueError(f"the analogy has two tasks called {one.name}: give each once, or give it another name")
        head, d = named(four[3], self.bare), four[3]
        models = [self._trained(task) for task in four]
        made = call(chosen_analogy, on=GPU, models=models[:3], data=d.held_out, head=head, coefficients=self.coefficients, label="analogy")
        third = models[2].label
        rows = {"zero-shot": self.bare, third: models[2], "analogy": made, models[3].label: models[3]}
        table = call(analogies, answers={name: headed(node, d.test, head) for name, node in rows.items()}, models=rows, baseline=third)
        caption = ANALOGY.format(**dict(zip("abcd", (task.name for task in four), strict=True)))
        return Exhibit("analogy", "A task by analogy", caption, table, draw_analogies, ("accuracy", "difference"), latex=True)

    def _trained(self, task: Task, objective: Objective | None = None) -> Node:
        """The towers after the image tower learned a task under its frozen head; by default to answer it."""
        label = f"fine-tuned on {task.name}" if objective is None else f"ascent on {task.name}"
        return call(towers, model=specialist(task, self.bare, self.update, self.seed, objective), label=label)

    def _tested(self, model: Node, task: Task) -> Node:
        """The answers of towers on a task's test data, with the task's head."""
        return headed(model, task.test, self.heads[task.name])


def _sources(task: Task) -> list[str]:
    """The roots of a task's images."""
    return [repr(root) for data in (task.train, task.test) for root, _, _ in data.parts()]
