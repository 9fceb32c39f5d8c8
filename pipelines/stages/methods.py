"""What can be made of one sweep, or of runs beside it: each method that gives one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from components.merge import dare, fisher_merge, learned, lines, magmax, model_stock, regmean, ties, uniform, wise_ft
from components.merge.fisher import fisher
from components.merge.patch import patch
from components.merge.regmean import gram
from components.merge.towers import equipped, towers
from components.objectives.classification import CrossEntropy
from components.train import train
from components.types import Dataset, Objective
from components.updates.sgd import AdamW
from infra.dag import GPU, Node, call, sweep
from infra.space import Point
from pipelines.stages.search import chosen
from pipelines.tasks import Task, named

SCALES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)  # of the mean task vector


def line(base: Node, tuned: Node, alphas: Sequence[float], title: str, most: float = 1.0) -> dict[float, Node]:
    """The models between two, by their alpha. ValueError for an alpha beyond them, unless `most` allows it."""
    if wrong := [a for a in alphas if not 0 <= a <= most]:
        raise ValueError(f"alpha = {wrong[0]}: the line goes from 0, the base, to 1, the fine-tuned model; give alphas from 0 to {most:g}")
    return {a: call(wise_ft, zero_shot=base, tuned=tuned, alpha=a, label=f"{title} {a}") for a in alphas}


def learnt(tuned: Sequence[Node], data: Dataset) -> dict[str, Node]:
    """The learned soups of a sweep, learned on `data`; between one model there is nothing to learn."""
    kinds = {"learned soup": "model", "learned by layer": "layer"} if len(tuned) > 1 else {}
    return {name: call(learned, on=GPU, models=list(tuned), data=data, by=by, at_least=2, label=name) for name, by in kinds.items()}


def merged(base: Node, tuned: Sequence[Node], task: Task, *, examples: int, seed: int) -> dict[str, Node]:
    """The merges of a sweep beside its soups, with the defaults of their papers.

    Learned soups and the coefficient of task arithmetic (of the mean task vector) are chosen on the held-out data; Fisher information and
    Gram matrices are estimated on so many examples of the training data. LiNeS leaves the shallowest layers half of their move.
    """
    models: dict[str, Any] = {"models": list(tuned), "at_least": 2}
    soup = call(uniform, **models)
    fishers, grams = ([call(made, on=GPU, checkpoint=m, data=task.train, examples=examples) for m in tuned] for made in (fisher, gram))
    return {
        **learnt(tuned, task.held_out),
        "task arithmetic": chosen(list(line(base, soup, SCALES, "mean task vector", SCALES[-1]).values()), task.held_out, "task arithmetic"),
        "TIES": call(ties, base=base, **models),
        "MagMax": call(magmax, base=base, **models),
        "DARE": call(dare, base=base, seed=seed, **models),
        "LiNeS": call(lines, base=base, models=[soup], alpha=0.5, beta=0.5),
        "Model Stock": call(model_stock, base=base, **models),
        "Fisher merging": call(fisher_merge, statistics=fishers, **models),
        "RegMean": call(regmean, grams=grams, **models),
    }


def specialist(task: Task, bare: Node, update: AdamW, seed: int, objective: Objective | None = None) -> Node:
    """The image tower fine-tuned on a task, whose zero-shot head is frozen: the model keeps its vocabulary. objective: else cross-entropy."""
    fit: dict[str, Any] = {"objective": objective or CrossEntropy(), "update": replace(update, seed=seed), "params": "visual.*", "steps": task.steps}
    how = f" by {type(objective).__name__.lower()}" if objective else ""
    return call(train, on=GPU, init=named(task, bare), data=task.train, label=f"{task.name} image tower{how}", **fit)


def patched(task: Task, bare: Node, supported: Sequence[Task], update: AdamW, seed: int) -> Node:
    """PAINT: a specialist, as far back as serves its task and those that are to be supported best; with the head of its task."""
    heads, model = [named(each, bare) for each in supported], call(towers, model=specialist(task, bare, update, seed))
    sets: dict[str, Any] = {"supported": [each.held_out for each in supported], "supported_heads": heads}
    sets |= {"patching": [task.held_out], "patching_heads": [named(task, bare)]}
    return call(equipped, model=call(patch, on=GPU, base=bare, tuned=model, **sets), head=named(task, bare))


def recycled(
    task: Task, bare: Node, auxiliaries: Sequence[Task], points: Sequence[Point], fit: Mapping[str, Any], update: AdamW, seed: int
) -> list[Node]:
    """The trials of a sweep, which start in turn from the base and from specialists of auxiliary tasks, all with one zero-shot head."""
    base = named(task, bare)
    starts = [base, *(call(equipped, model=specialist(each, bare, update, seed), head=base) for each in auxiliaries)]
    return sweep(train, on=GPU, over=[{**point, "init": starts[i % len(starts)]} for i, point in enumerate(points)], label="recycled", **fit)
