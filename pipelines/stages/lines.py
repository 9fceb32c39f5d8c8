"""Lines between a zero-shot model and a fine-tuned one, and what is shown of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.analysis.curves import curves
from components.analysis.robustness import effective_robustness
from components.figures.curves import draw_curves
from components.figures.robustness import draw_robustness
from components.types import Dataset
from infra.dag import Node, call
from pipelines.report.compare import Exhibit, answers
from pipelines.stages.search import asked, chosen
from pipelines.tasks import Task

ROBUSTNESS = (
    "Effective robustness: how far each accuracy under shift lies above what accuracy in distribution predicts, in points. The prediction is a "
    "line in logit space through fine-tunes that are not among these models."
)
CURVES = (
    "From the zero-shot model (alpha 0) to the fine-tuned one (1). Beside the first line stand its alphas. Dashed: what the fine-tunes "
    "in grey predict (dotted where that is extrapolated); what lies above it has effective robustness."
)


@dataclass(frozen=True)
class Line:
    """The models between two others by a rule (zero_shot, tuned, alpha); the ends are the very nodes."""

    name: str
    rule: Callable[..., Any]
    zero_shot: Node
    tuned: Node
    more: Mapping[str, Any] = field(default_factory=dict)

    def at(self, alpha: float) -> Node:
        """The model at one place."""
        if alpha in (0, 1):
            return self.tuned if alpha else self.zero_shot
        return call(self.rule, zero_shot=self.zero_shot, tuned=self.tuned, alpha=alpha, label=f"{self.name} {alpha:g}", **self.more)


def places(alphas: Sequence[float]) -> list[float]:
    """The places on a line, each once, from the smallest on. ValueError where there is none, or one that is not on it."""
    if not alphas or not all(0 <= alpha <= 1 for alpha in alphas):
        raise ValueError(f"alphas {list(alphas)}: give one or more, each from 0 (zero-shot) to 1 (fine-tuned)")
    return sorted({float(alpha) for alpha in alphas})


def picked(lines: Sequence[Line], alphas: Sequence[float], held_out: Dataset) -> dict[str, Node]:
    """Of each line the model at 0.5, which nothing tuned, and the one of most correct held-out answers, ties to the smaller alpha."""
    found: dict[str, Node] = {}
    for line in lines:
        name = f"{line.name}, held-out"
        found |= {f"{line.name} 0.5": line.at(0.5), name: chosen([line.at(alpha) for alpha in alphas], held_out, name)}
    return found


def shown(task: Task, alphas: Sequence[float], lines: Sequence[Line], models: Mapping[str, Node], baselines: Sequence[Node]) -> list[Exhibit]:
    """Effective robustness of the models, and the lines on each shift. ValueError where the baselines cannot carry a line."""
    if len(baselines) < 2:
        raise ValueError(f"{len(baselines)} baseline: the line of effective robustness needs fine-tunes of two or more different numbers of steps")
    splits = {task.name: task.test, **task.shifts}

    def on(nodes: Sequence[Node]) -> list[list[Node]]:
        return [[answers(node, data) for data in splits.values()] for node in nodes]

    known: dict[str, Any] = {"baselines": on(baselines), "splits": list(splits)}
    points = {line.name: [line.at(alpha) for alpha in alphas] for line in lines}
    held_out = {name: asked(nodes, task.held_out) for name, nodes in points.items()}
    above = call(effective_robustness, models=dict(zip(models, on(list(models.values())), strict=True)), **known)
    along = call(curves, lines={name: on(nodes) for name, nodes in points.items()}, held_out=held_out, alphas=list(alphas), **known)
    shares = ("in_distribution", "shifted", "predicted", "rho", "held_out")
    return [
        Exhibit("robustness", "Effective robustness", ROBUSTNESS, above, draw_robustness, shares, latex=True, terminal=len(models)),
        Exhibit("curves", "Along the line", CURVES, along, draw_curves, shares, terminal=len(lines) * len(alphas) + len(baselines)),
    ]
