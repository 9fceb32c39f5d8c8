"""Soups of a sweep, and what explains them: pairs of ingredients, the line to the ensemble, soups of models that learned other tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from components.analysis.flatness import flatness
from components.analysis.pairs import pairs
from components.analysis.transfer import transfer
from components.figures.flatness import draw_flatness
from components.figures.pairs import draw_pairs
from components.merge import greedy, greedy_ensemble, uniform
from components.merge.towers import towers
from components.types import Dataset
from components.updates.sgd import AdamW
from infra.dag import GPU, Node, call
from pipelines.report.compare import Candidate, Exhibit, answers, ensembled, headed, model
from pipelines.stages.methods import learnt, specialist
from pipelines.tasks import Task, named

ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
ADVANTAGE = (
    "What the mean of two fine-tunes gains over their mean accuracy, in points, against how unlike they are: each mark is a pair. The pairs share "
    "models, so that their number says little about how sure the correlation is."
)
STRAIGHT = (
    f"Cross-entropy of the soup (1 - {ALPHA}) zero-shot + {ALPHA} best single, less that of the ensemble of the two with these weights: below 0 the "
    "soup is better. The prediction needs no ensemble: it is made of how flat the soup's loss is along the line, and of how unsure the soup is where "
    "the two ends differ. Bars are 95 % intervals over examples."
)
UNSEEN = (
    "Models whose image towers were fine-tuned on other tasks, and the mean of those towers, answer {name} with the zero-shot head that the base "
    "model makes of its class names. None of them was fine-tuned on {name}."
)


def soups(tuned: Sequence[Node], chosen: Sequence[Node], data: Dataset, accept: Literal["gt", "ge"]) -> list[Candidate]:
    """The soups of a sweep and the ensembles beside them; `chosen` are the answers on `data`, the held-out examples, on which they are selected."""
    many: dict[str, Any] = {"models": list(tuned), "at_least": 2}
    return [
        model("uniform soup", "uniform", call(uniform, **many)),
        model("greedy soup", "greedy", call(greedy, on=GPU, predictions=list(chosen), data=data, accept=accept, **many)),
        *[model(name, "other", node) for name, node in learnt(tuned, data).items()],
        ensembled("ensemble", "ensemble", tuned),
        ensembled("greedy ensemble", "greedy_ensemble", tuned, call(greedy_ensemble, predictions=list(chosen), at_least=2)),
    ]


def pairwise(trials: Sequence[Node], base: Node, data: Dataset) -> list[Exhibit]:
    """What pairs of the first eight trials gain from being averaged; nothing of fewer than two."""
    if len(trials) < 2:
        return []
    node = call(pairs, on=GPU, models={str(i): trial for i, trial in enumerate(trials)}, base=base, data=data, at_least=2, label="pairs")
    return [Exhibit("pairs", "What two models gain from being averaged", ADVANTAGE, node, draw_pairs, ("accuracy", "advantage"), terminal=4)]


def flat(line: Mapping[float, Node], data: Dataset) -> list[Exhibit]:
    """The soup against the ensemble along a line of models by their alpha, 0 and 1 among them; nothing where it has no point between."""
    inside = sorted(a for a in line if 0 <= a <= 1)
    if len(inside) < 3:
        return []
    node = call(flatness, predictions=[answers(line[a], data) for a in inside], alphas=inside, label="soup against ensemble")
    return [Exhibit("flatness", "The soup against the ensemble", STRAIGHT, node, draw_flatness)]


def unseen(task: Task, bare: Node, others: Sequence[Task], update: AdamW, seed: int) -> list[Exhibit]:
    """Models of other tasks, and their soup, on the test data of this one, whose classifier is zero-shot; nothing without other tasks.

    bare: the towers that all begin from. A task of the same name is left out: it would not be unseen.
    """
    tuned = {other.name: specialist(other, bare, update, seed) for other in others if other.name != task.name}
    if not tuned:
        return []
    head = named(task, bare)
    models = {"zero-shot": head, **{f"fine-tuned on {name}": node for name, node in tuned.items()}}
    if len(tuned) > 1:
        models["soup of these"] = call(uniform, models=[call(towers, model=node) for node in tuned.values()], label="soup of other tasks")
    asked = {name: answers(head, task.test) if node is head else headed(node, task.test, head) for name, node in models.items()}
    node = call(transfer, predictions=asked, baseline="zero-shot", at_least=2, label="transfer")
    title, caption = f"What other tasks do for {task.name}, unseen", UNSEEN.format(name=task.name)
    return [Exhibit("transfer", title, caption, node, None, ("top1", "difference"))]
