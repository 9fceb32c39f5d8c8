"""What is told of models that were trained with one domain left out after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from components.analysis.domains import by_domain
from components.analysis.pairs import grouped, pairs
from components.figures.pairs import draw_pairs
from components.types import Dataset
from infra.dag import GPU, Node, Plan, call
from pipelines.report.compare import Candidate, Exhibit, Reported, answers, compare
from pipelines.report.story_types import Kind
from pipelines.stages.recycling import Fold, Origin
from pipelines.tasks import named

PROTOCOL = (
    "Each domain is answered by models that were trained and chosen without it, on all of its images. Chosen means: most correct answers on the "
    "merged held-out shares of the training domains, where each image counts the same."
)
KINDS: Mapping[str, Kind] = {"ERM": "best", "Ratatouille uniform": "uniform", "Ratatouille greedy": "greedy"}
BY_DOMAIN = "Top-1 on each domain, of models that never saw it. A standard error is over examples, of single runs over the runs. {protocol}"
PAIRS = "Two runs and their mean on {domain}, which none of them saw: from one start, and from recycled ones."


def told(folds: Sequence[Fold], accept: str) -> Plan:
    """The table of all methods on each held-out domain, the exhibits, and as a further target that auxiliary data are apart from the target's."""
    task, names = folds[0].task, [fold.without for fold in folds]
    splits = {name: task.domains[name] for name in names}
    made = [fold.methods(accept) for fold in folds]
    runs = {"pretrained": [fold.plain for fold in folds], "recycled": [fold.recycled for fold in folds]}
    methods = [left_out(name, KINDS.get(name, "other"), [each[name] for each in made], splits) for name in made[0]]
    singles = [
        left_out(f"{name} {j}", "single", [fold[j] for fold in each], splits, main=False)
        for name, each in runs.items()
        for j in range(len(folds[0].points))
        if name == "pretrained" or each[0][j] is not folds[0].plain[j]
    ]
    base = named(task, folds[0].base)
    zero_shot = left_out("zero-shot", "zero_shot", [base] * len(folds), splits)
    table = call(
        by_domain,
        methods={one.name: [one.answers(data) for data in splits.values()] for one in [zero_shot, *methods]},
        runs={f"from {name}" if name == "pretrained" else name: _asked(each, splits) for name, each in runs.items()},
        domains=names,
    )
    exhibits = [Exhibit("domains", "Each held-out domain", BY_DOMAIN.format(protocol=PROTOCOL), table, percent=(*names, "mean"), latex=True)]
    if any(node not in folds[0].plain for node in folds[0].recycled):
        exhibits.append(diverse(folds[0], base, splits[names[0]]))
    on = Reported(task.name, splits, "domain", caveat=" ".join(filter(None, [PROTOCOL, task.caveat])))
    plan = compare(on, [zero_shot, *methods, *singles], winner="Ratatouille uniform", baseline="ERM", base=base, exhibits=exhibits)
    return replace(plan, targets={**plan.targets, **apart(folds[0].origins)})


def left_out(name: str, kind: Kind, models: Sequence[Node], splits: Mapping[str, Dataset], main: bool = True) -> Candidate:
    """A candidate that answers each domain with the model that was trained without it."""
    of = dict(zip(splits.values(), models, strict=True))
    return Candidate(name, kind, lambda data: answers(of[data], data), None, None, main)


def apart(origins: Sequence[Origin]) -> dict[str, Node]:
    """What must hold before anything is published."""
    return {f"auxiliary {i} is apart": node for i, origin in enumerate(origins) for node in origin.apart}


def diverse(fold: Fold, base: Node, data: Dataset) -> Exhibit:
    """What the mean of two runs gains, against how unlike they are."""
    kinds = {"same start": fold.plain, "recycled": fold.recycled}
    tables = {
        name: call(pairs, on=GPU, models={f"{j}": run for j, run in enumerate(runs)}, base=base, data=data, label=f"pairs, {name}")
        for name, runs in kinds.items()
    }
    caption = PAIRS.format(domain=fold.without)
    return Exhibit("pairs", "Diversity and gain", caption, call(grouped, tables=tables), draw_pairs, ("accuracy", "advantage"), terminal=4)


def _asked(runs: Sequence[Sequence[Node]], splits: Mapping[str, Dataset]) -> list[list[Node]]:
    return [[answers(run, data) for run in each] for each, data in zip(runs, splits.values(), strict=True)]
