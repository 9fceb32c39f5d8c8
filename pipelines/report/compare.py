"""`compare` ends a study: every candidate on the reported data, one table, further exhibits, and what the page needs to tell the story."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from components.analysis.cosine import cosines
from components.analysis.measured import measured
from components.analysis.table import tabulate
from components.evaluate import predict
from components.merge.ensemble import ensemble
from components.metrics import Top1
from components.types import Dataset, Metric
from infra.dag import GPU, Node, Plan, call
from infra.identity import cached
from pipelines.report.story_types import Kind, Noun, Row
from pipelines.tasks import Task


@dataclass(frozen=True)
class Candidate:
    """A row of the table: `answers(data)` is a node of predictions; `node` the checkpoint, where the candidate is one model."""

    name: str
    kind: Kind
    answers: Callable[[Dataset], Node]
    node: Node | None = None
    alpha: float | None = None
    main: bool = True


@dataclass(frozen=True)
class Exhibit:
    """A further result of a study: a node of a `Table`, how its rows are drawn (a function of `components.figures`), and what is a share.

    name: of its files. A column `x` is shown with `x_low` and `x_high`, or with `x_se`, where there are such. latex: write it as LaTeX too.
    terminal: rows that a terminal shows.
    """

    name: str
    title: str
    caption: str
    node: Node
    draw: Callable[[Sequence[Row]], Any] | None = None
    percent: tuple[str, ...] = ()
    latex: bool = False
    terminal: int = 24


@dataclass(frozen=True)
class Reported:
    """What a study reports on: splits by name. `here` is the one in distribution; the mean is over the others, over all where it is "".

    metric: what the literature reports on it, in a table of its own beside top-1.
    """

    name: str
    splits: Mapping[str, Dataset]
    noun: Noun = "shift"
    here: str = ""
    caveat: str = ""
    metric: Metric = Top1()

    @classmethod
    def of(cls, task: Task) -> Reported:
        """A task's test data and its shifts."""
        return cls(task.name, {task.name: task.test, **task.shifts}, "shift", task.name, task.caveat, task.metric)


@dataclass(frozen=True)
class Comparison:
    """What `Plan.about` carries: the candidates with their predictions, the splits by name, the trials and their held-out predictions."""

    on: Reported
    candidates: Sequence[Candidate]
    answers: Mapping[str, Sequence[Node]]
    trials: Sequence[Node]
    held_out: Sequence[Node]
    winner: str
    baseline: str
    exhibits: Sequence[Exhibit] = ()
    advises: bool = False

    @property
    def splits(self) -> Mapping[str, Dataset]:
        return self.on.splits

    def node(self, name: str) -> Node | None:
        return next(candidate.node for candidate in self.candidates if candidate.name == name)


@cached
def answers(node: Node, data: Dataset) -> Node:
    """The predictions of a checkpoint on some data: one node, however many candidates ask."""
    return call(predict, on=GPU, checkpoint=node, data=data, label=f"{node.title} predicts")


@cached
def headed(node: Node, data: Dataset, head: Node) -> Node:
    """The predictions of a checkpoint with the classifier of another: one node, however many candidates ask."""
    return call(predict, on=GPU, checkpoint=node, data=data, head=head, label=f"{node.title} predicts")


def model(name: str, kind: Kind, node: Node, *, alpha: float | None = None, main: bool = True) -> Candidate:
    """A candidate that is one checkpoint."""
    return Candidate(name, kind, lambda data: answers(node, data), node, alpha, main)


def versatile(name: str, kind: Kind, node: Node, heads: Mapping[Dataset, Node], *, main: bool = True) -> Candidate:
    """A candidate that is one checkpoint and answers each dataset with the classifier of its own that `heads` names."""
    return Candidate(name, kind, lambda data: headed(node, data, heads[data]), node, None, main)


def ensembled(name: str, kind: Kind, members: Sequence[Node], chosen: Node | None = None) -> Candidate:
    """A candidate that averages the logits of several checkpoints, of those that the node `chosen` lists where it is given."""

    def voted(data: Dataset) -> Node:
        each = [answers(member, data) for member in members]
        return call(ensemble, predictions=each, members=chosen, at_least=2, label=f"{name} predicts")

    return Candidate(name, kind, voted)


def compare(
    on: Task | Reported,
    candidates: Sequence[Candidate],
    *,
    winner: str,
    baseline: str,
    base: Node,
    trials: Sequence[Node] = (),
    held_out: Sequence[Node] = (),
    exhibits: Sequence[Exhibit] = (),
) -> Plan:
    """The plan of a study: its table of all candidates and single trials, the cosines between the trials' moves from `base`, and exhibits.

    winner: the candidate that the run hands over; baseline: the one that the others are compared with. A trial that fails leaves the table;
    a candidate that fails leaves it too while two remain. An exhibit that fails leaves the page.
    ValueError where the winner or the baseline is no candidate.
    """
    names = [candidate.name for candidate in candidates]
    for role, name in (("winner", winner), ("baseline", baseline)):
        if name not in names:
            raise ValueError(f"the {role} {name!r} is no candidate: choose one of {', '.join(names)}")
    reported = on if isinstance(on, Reported) else Reported.of(on)
    singles = [model(trial.title, "single", trial, main=False) for trial in trials]
    everyone = [*candidates, *singles]
    asked = {candidate.name: [candidate.answers(data) for data in reported.splits.values()] for candidate in everyone}
    averaged = {} if reported.here else {"shifts": list(reported.splits)}
    named = {} if reported.noun == "shift" else {"mean": f"mean of {reported.noun}s"}
    arguments: dict[str, Any] = {"predictions": asked, "splits": list(reported.splits), "baseline": baseline, **averaged, **named}
    targets = {"table": call(tabulate, **arguments, at_least=2, label="table")}
    if len(trials) > 1:
        targets["cosines"] = call(cosines, models=list(trials), base=base, at_least=2)
    if reported.metric != Top1():
        few = {candidate.name: asked[candidate.name] for candidate in candidates}
        own = call(measured, predictions=few, splits=list(reported.splits), metric=reported.metric, at_least=2, label="measured")
        exhibits = [Exhibit("metric", "The metric of the literature", f"{reported.name} is reported by it.", own, None, ("value",)), *exhibits]
    targets |= {exhibit.name: exhibit.node for exhibit in exhibits}
    kept = [candidate.node for candidate in candidates if candidate.name == winner and candidate.node]
    about = Comparison(reported, everyone, asked, trials, held_out, winner, baseline, exhibits)
    return Plan(targets, about, kept, frozenset(exhibit.name for exhibit in exhibits))


def advised(plan: Plan) -> Plan:
    """The same plan, whose story ends with a recommendation."""
    return replace(plan, about=replace(plan.about, advises=True))
