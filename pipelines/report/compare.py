"""`compare` ends a study: every candidate on the test data and on every shift, one table, and what the page needs to tell the story."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from components.analysis.cosine import cosines
from components.analysis.table import tabulate
from components.evaluate import predict
from components.merge.ensemble import ensemble
from components.types import Dataset
from infra.dag import GPU, Node, Plan, call
from infra.identity import cached
from pipelines.report.story_types import Kind
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
class Comparison:
    """What `Plan.about` carries: the candidates with their predictions, the splits by name, the trials and their held-out predictions."""

    task: Task
    candidates: Sequence[Candidate]
    splits: Mapping[str, Dataset]
    answers: Mapping[str, Sequence[Node]]
    trials: Sequence[Node]
    held_out: Sequence[Node]
    winner: str
    baseline: str

    def node(self, name: str) -> Node | None:
        return next(candidate.node for candidate in self.candidates if candidate.name == name)


@cached
def answers(node: Node, data: Dataset) -> Node:
    """The predictions of a checkpoint on some data: one node, however many candidates ask."""
    return call(predict, on=GPU, checkpoint=node, data=data, label=f"{node.title} predicts")


def model(name: str, kind: Kind, node: Node, *, alpha: float | None = None, main: bool = True) -> Candidate:
    """A candidate that is one checkpoint."""
    return Candidate(name, kind, lambda data: answers(node, data), node, alpha, main)


def ensembled(name: str, kind: Kind, members: Sequence[Node], chosen: Node | None = None) -> Candidate:
    """A candidate that averages the logits of several checkpoints, of those that the node `chosen` lists where it is given."""

    def voted(data: Dataset) -> Node:
        each = [answers(member, data) for member in members]
        return call(ensemble, predictions=each, members=chosen, at_least=2, label=f"{name} predicts")

    return Candidate(name, kind, voted)


def compare(
    task: Task,
    candidates: Sequence[Candidate],
    *,
    winner: str,
    baseline: str,
    base: Node,
    trials: Sequence[Node] = (),
    held_out: Sequence[Node] = (),
) -> Plan:
    """The plan of a study: its table of all candidates and single trials, and the cosines between the trials' moves from `base`.

    winner: the candidate that the run hands over; baseline: the one that the others are compared with. A trial that fails leaves the table;
    a candidate that fails leaves it too while two remain.
    """
    singles = [model(trial.title, "single", trial, main=False) for trial in trials]
    everyone = [*candidates, *singles]
    splits = {task.name: task.test, **task.shifts}
    asked = {candidate.name: [candidate.answers(data) for data in splits.values()] for candidate in everyone}
    table = call(tabulate, predictions=asked, splits=list(splits), baseline=baseline, at_least=2, label="table")
    targets = {"table": table}
    if len(trials) > 1:
        targets["cosines"] = call(cosines, models=list(trials), base=base, at_least=2)
    kept = [candidate.node for candidate in candidates if candidate.name == winner and candidate.node]
    return Plan(targets, Comparison(task, everyone, splits, asked, trials, held_out, winner, baseline), kept)
