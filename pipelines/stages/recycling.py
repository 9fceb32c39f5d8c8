"""The stages of Model Ratatouille, one held-out domain after the other (Rame et al. 2023, arXiv:2212.10445)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from components.analysis.apart import apart
from components.data import Augment, Mixture
from components.merge import fused, greedy, uniform
from components.merge.recycled import recycled
from components.merge.towers import towers
from components.models.heads import blank
from components.models.stored import Stored, nth
from components.objectives.classification import CrossEntropy
from components.train import Monitor, train
from components.types import Dataset
from components.updates.sgd import AdamW
from infra.dag import GPU, Node, call, sweep
from infra.hygiene import overlap, parts
from infra.identity import Canon
from infra.space import Point, place
from pipelines.stages.search import asked, chosen
from pipelines.tasks import Domains, Task, named


@dataclass(frozen=True)
class Recipe:
    """How long a stage lasts and how it trains; the runs' own hyper-parameters are laid over `update` and `objective`.

    head: what a probe starts from, the words of the classes or zeros (which need a larger `probe.lr`). probe: of heads alone, `probe_steps` before
    an auxiliary fine-tune and for the head that the target's runs share; `lp_steps` of the head alone begin each run whose towers are not the
    pretrained ones. every: steps between looks at the training domains' validation, of which a run keeps the best. average: the share of the
    steps, the last ones, that a moving average is over. r: of fusing, 0 mixes all alike.
    """

    objective: CrossEntropy = CrossEntropy()
    head: Literal["zero_shot", "blank"] = "zero_shot"
    update: AdamW = AdamW(lr=1e-3, batch=32, warmup=20)
    probe: AdamW = AdamW(lr=3e-3, batch=32, warmup=5)
    probe_steps: int = 40
    lp_steps: int = 20
    every: int = 20
    average: float = 0.5
    r: float = 4.0

    def __post_init__(self) -> None:
        """ValueError for stages of no length."""
        if self.every < 1 or min(self.probe_steps, self.lp_steps) < 0:
            told = f"every {self.every}, probe_steps {self.probe_steps}, lp_steps {self.lp_steps}"
            raise ValueError(f"recipe: {told}: give 1 or more steps between two looks at validation, and 0 or more of each probe")

    def seeded(self, seed: int) -> Recipe:
        """The same with the seed of a study."""
        return replace(self, update=replace(self.update, seed=seed), probe=replace(self.probe, seed=seed))

    def unprobed(self, task: Task | Domains, base: Node) -> Node:
        """The frozen base with the head that a linear probe of the task starts from."""
        if self.head == "zero_shot":
            return named(task, base)
        source = task.train if isinstance(task, Task) else next(iter(task.domains.values()))
        return call(blank, model=base, classes=task.classes, data=None if task.classes else source)


# What the paper's code has (batches of 32 a domain, of three; its learning rate does not decay, and its jitter of colours is not here).
PUBLISHED = Recipe(
    objective=CrossEntropy(views=Augment(scale=0.7, flip=True)),
    update=AdamW(lr=5e-5, weight_decay=0.0, batch=96, warmup=0),
    probe=AdamW(lr=1e-3, weight_decay=0.0, batch=96, warmup=0),
    probe_steps=1000, lp_steps=200, every=100,
)  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """Towers that are not the pretrained ones: one or more models of a task. `apart` says that their data hold nothing of the target's."""

    name: str
    models: Sequence[Node]
    apart: Sequence[Node] = ()


def auxiliary(task: Task, base: Node, target: Domains, recipe: Recipe, points: Sequence[Point]) -> Origin:
    """Stages 1 and 2: a linear probe on the frozen base, everything from there, the towers of the last step. They know nothing of the target.

    One probe, and from it one fine-tune a point: the first has the recipe's own hyper-parameters, as in the paper's code.
    """
    fit: dict[str, Any] = {"on": GPU, "data": task.train, "objective": recipe.objective}
    alone: dict[str, Any] = {"update": recipe.probe, "params": "head.*", "steps": recipe.probe_steps, "label": f"probe of {task.name}"}
    probe = call(train, init=recipe.unprobed(task, base), **alone, **fit)
    whole: dict[str, Any] = {"init": probe, "update": recipe.update, "steps": task.steps, **fit}
    tuned = [call(train, label=f"fine-tune {k} on {task.name}", **place(whole, point)) for k, point in enumerate([{}, *points[1:]])]
    clear = call(apart, auxiliary=[task.train], target=list(target.domains.values()), label=f"{task.name} apart from {target.name}")
    return Origin(task.name, [call(towers, model=one, label=f"towers of {one.label}") for one in tuned], [clear])


def stored(query: Stored, index: int) -> Origin:
    """A model that lies in the store already; the query avoids what has seen the target."""
    found = call(nth, found=query, index=index, label=f"stored {index}")
    return Origin(found.label, [call(towers, model=found, label=f"towers of {found.label}")])


def check(task: Domains, auxiliaries: Sequence[Task], *, models: int, trials: int, hold_out: int) -> list[str]:
    """The domains that are held out in turn. ValueError for fewer than two domains or runs, or an auxiliary whose data hold some of the target's."""
    domains, canon = dict(task.domains), Canon()
    if len(domains) < 2:
        raise ValueError(f"{task.name} has {len(domains)} domain: one is held out and the others train, so give at least two")
    if not 1 <= hold_out <= len(domains):
        raise ValueError(f"hold_out is {hold_out}: it is how many of {', '.join(domains)} are held out in turn, 1 to {len(domains)}")
    if models < 1:
        raise ValueError(f"models is {models}: each auxiliary task gives at least one")
    if trials < 2:
        raise ValueError(f"trials is {trials}: an average needs at least two runs")
    for other in auxiliaries:
        for name, data in domains.items():
            if any(overlap(a, b) for a in parts(other.train, canon) for b in parts(data, canon)):
                raise ValueError(f"auxiliary data that contains the target: {other.name} trains on images of {name}; leave it out of the auxiliaries")
    return list(domains)[:hold_out]


@dataclass(frozen=True, eq=False)
class Fold:
    """All runs of a target with one domain held out: stages 3 to 5, and the same number of runs for each method that they are compared with.

    Everything is chosen by accuracy on the merged held-out shares of the training domains: each image counts the same, whatever its domain.
    """

    task: Domains
    without: str
    base: Node
    origins: Sequence[Origin]
    points: Sequence[Point]
    recipe: Recipe
    seed: int = 0

    @cached_property
    def train(self) -> Dataset:
        return Mixture(self.task.parts(self.without)[0])

    @cached_property
    def select(self) -> Dataset:
        return Mixture(self.task.parts(self.without)[1])

    @cached_property
    def probe(self) -> Node:
        """Stage 3: the head that all runs start from, on the frozen base."""
        fit = self._fit(self.recipe.probe_steps, update=self.recipe.probe, params="head.*")
        return call(train, on=GPU, init=self.recipe.unprobed(self.task, self.base), label=f"probe without {self.without}", **fit)

    @property
    def plain(self) -> list[Node]:
        """Runs from the pretrained towers: what DiWA averages."""
        return self._from_base["pretrained"]

    @property
    def averaged(self) -> list[Node]:
        """The same, but each ends in the mean of its last weights, whatever validation says on the way."""
        return self._from_base["moving average"]

    @property
    def recycled(self) -> list[Node]:
        """Stage 4: the starts take turns, and where it is the turn of the pretrained towers it is the very run of `plain`."""
        others = iter(self._from_others["recycled"])
        return [next(others) if i else self.plain[j] for j, (i, _) in enumerate(self._places)]

    @property
    def fused(self) -> list[Node]:
        """Runs that start from random points among the towers of each origin and the pretrained ones."""
        return self._from_others["fused"] if self.origins else self.plain

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        return [assigned(run, [len(origin.models) for origin in self.origins]) for run in range(len(self.points))]

    @cached_property
    def _from_base(self) -> dict[str, list[Node]]:
        own = [{**point, "init": self.probe} for point in self.points]
        ends = {"update.average": self.recipe.average, "monitor": None}
        return self._runs({"pretrained": own, "moving average": [{**point, **ends} for point in own]})

    @cached_property
    def _from_others(self) -> dict[str, list[Node]]:
        """Other towers under the shared head: the head alone for exactly `lp_steps`, then everything."""
        turns = [(point, self.origins[i - 1], k) for point, (i, k) in zip(self.points, self._places, strict=True) if i]
        starts = {
            "recycled": [{**point, "init": self._start([origin], origin.models[k])} for point, origin, k in turns],
            "fused": [{**point, "init": self._start(self.origins, self._mix(j))} for j, point in enumerate(self.points)],
        }
        if not turns:
            return {"recycled": []}
        if self.recipe.lp_steps:
            heads = self._swept("probe ", starts, self._fit(self.recipe.lp_steps, params="head.*"))
            starts = {name: [{**point, "init": head} for point, head in zip(starts[name], heads[name], strict=True)] for name in starts}
        return self._runs(starts)

    def methods(self, accept: str) -> Mapping[str, Node]:
        """Every method's model of this fold, by its name."""
        from_base, recycled = (call(uniform, models=runs, at_least=2, label="uniform") for runs in (self.plain, self.recycled))
        return {
            "ERM": chosen(self.plain, self.select, "ERM"),
            "moving average": chosen(self.averaged, self.select, "moving average"),
            "DiWA uniform": from_base,
            "DiWA greedy": self._greedy(self.plain, accept),
            "inter-training": chosen(self.recycled, self.select, "inter-training"),
            "fusing": chosen(self.fused, self.select, "fusing"),
            "Ratatouille uniform": recycled,
            "Ratatouille greedy": self._greedy(self.recycled, accept),
        }

    def _greedy(self, runs: Sequence[Node], accept: str) -> Node:
        each = asked(runs, self.select)
        return call(greedy, on=GPU, models=list(runs), predictions=each, data=self.select, accept=accept, at_least=2, label="greedy")

    def _mix(self, run: int) -> Node:
        models = [self.base, *(origin.models[run % len(origin.models)] for origin in self.origins)]
        return call(fused, models=models, r=self.recipe.r, seed=self.seed, index=run, label=f"fused towers {run}")

    def _start(self, origins: Sequence[Origin], towers: Node) -> Node:
        clear = [node for origin in origins for node in origin.apart]
        return call(recycled, model=towers, head=self.probe, apart=clear, label=f"start at {towers.label}")

    def _fit(self, steps: int, **more: Any) -> dict[str, Any]:
        return {"data": self.train, "objective": self.recipe.objective, "update": self.recipe.update, "steps": steps, **more}

    def _runs(self, over: Mapping[str, Sequence[Point]]) -> dict[str, list[Node]]:
        best = Monitor(self.select, every=self.recipe.every, keep="best")
        return self._swept("", over, self._fit(self.task.steps, monitor=best))

    def _swept(self, stage: str, over: Mapping[str, Sequence[Point]], fit: Mapping[str, Any]) -> dict[str, list[Node]]:
        """One sweep, whose trials are called by their kind."""
        named = [f"{stage}{kind} {j} without {self.without}" for kind, points in over.items() for j in range(len(points))]
        nodes = sweep(train, on=GPU, over=[point for points in over.values() for point in points], **fit)
        rest = iter([replace(node, label=label) for node, label in zip(nodes, named, strict=True)])
        return {kind: [next(rest) for _ in points] for kind, points in over.items()}


def assigned(run: int, models: Sequence[int]) -> tuple[int, int]:
    """(i, k): where run `run` starts. i is 0 for the pretrained model, else the number of an origin; k is which of its `models[i - 1]` models.

    Both count in turn, as in the paper's code: where origins + 1 and the number of models share no divisor, each pair comes once in as many
    runs as there are pairs (4 origins of 4 models: 20 runs are 5 starts, 4 times each, each time from another model).
    """
    i = run % (len(models) + 1)
    return i, run % models[i - 1] if i else 0
