"""From records to a story: everything that the page tells is read from the store, never from memory of the run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from infra.dag import Node, children
from infra.finished import Finished
from infra.search import FAILED, STOPPED, nth_best, ranking
from infra.space import Point
from infra.store import Record
from pipelines.report.compare import Comparison
from pipelines.report.story_types import Candidate, DataCard, Failure, Model, Shown, Split, Stage, Story, Totals, Trial, Winner

LOAD = """import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:{uri}")"""


class Teller:
    """Reads the records of a finished comparison once, and tells its parts."""

    def __init__(self, finished: Finished, comparison: Comparison) -> None:
        self.finished, self.comparison = finished, comparison
        finished.fetch()
        self.table = finished.value(finished.plan.targets["table"])
        self._records: dict[str, Record | None] = {}

    def record(self, node: Node) -> Record | None:
        key = self.finished.fingerprints.key(node)
        if key not in self._records:
            self._records[key] = self.finished.store.record(key)
        return self._records[key]

    def facts(self, node: Node | None) -> Mapping[str, Any]:
        """What a merge rule said of itself."""
        record = self.record(node) if node else None
        return (record.summary.get("facts") or {}) if record else {}

    def uri(self, node: Node | None) -> str:
        record = self.record(node) if node else None
        return self.finished.store.payload(record) if record and "attempt" in record.result else ""

    def digest(self, node: Node | None) -> str:
        record = self.record(node) if node else None
        return record.digest if record else ""

    def models(self) -> tuple[Model, ...]:
        named = {row["model"] for row in self.table.rows}
        return tuple(
            Model(c.name, c.kind, c.alpha, self.members(c.node), self.uri(c.node), self.digest(c.node), c.main)
            for c in self.comparison.candidates
            if c.name in named
        )

    def members(self, node: Node | None) -> tuple[int, ...]:
        """Trials by number: a rule counts among the members that were there."""
        record = self.record(node) if node else None
        found = self.facts(node).get("members", ())
        return tuple(record.members[i] for i in found) if record and record.members else tuple(found)

    def splits(self) -> tuple[Split, ...]:
        comparison = self.comparison
        counts = {row["split"]: row["n"] for row in self.table.rows}
        trained = next((self.facts(trial).get("training", [{}])[-1].get("examples") for trial in comparison.trials if self.record(trial)), 0)
        held = next((record.summary.get("n", 0) for node in comparison.held_out if (record := self.record(node))), 0)
        known = (("train", "trained", trained), ("held-out", "selected", held))  # of a study without a sweep its own page tells
        parts = [Split(name, meaning, n) for name, meaning, n in known if n]  # type: ignore[arg-type]
        return (*parts, *(Split(name, "reported", counts.get(name, 0), shift=name != comparison.on.here) for name in comparison.splits))

    def cards(self) -> tuple[DataCard, ...]:
        """What each reported source holds, and what of it could not be read."""
        answers = next(iter(self.comparison.answers.values()))
        found = zip(self.comparison.splits, map(self.record, answers), strict=True)
        return tuple(DataCard(name, record.summary["n"], tuple(record.summary["skipped"])) for name, record in found if record)

    def trials(self) -> tuple[Trial, ...]:
        found = []
        for i, trial in enumerate(self.comparison.trials):
            record = self.record(trial)
            held = self.record(self.comparison.held_out[i]) if self.comparison.held_out else None
            correct, n = (held.summary["correct"], held.summary["labelled"]) if held else (None, None)
            outcome = self.finished.failures.get(self.finished.fingerprints.key(trial))
            failure = self.finished.store.failure(self.finished.fingerprints.key(trial)) if record is None else None
            status = "finished" if record else (outcome.kind or outcome.state) if outcome else str((failure or {}).get("kind", "missing"))
            found.append(Trial(i, knobs(trial.point), correct, n, status, record.seconds if record else None, self.uri(trial), self.digest(trial)))
        return tuple(found)

    def searched(self) -> tuple[Mapping[str, Any], ...]:
        """All trials of searches whose monitor sees a share that is to be large; those among the ingredients have the number that they have there."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for node in self.finished.plan.nodes():
            metric = getattr(node.arguments["monitor"], "metric", None) if node.search else None
            if metric and metric.ascending and self.record(node):
                found[self.finished.fingerprints.key(node)] = self.finished.value(node)
        numbers: dict[tuple[str, int], int] = {}
        for i, trial in enumerate(self.comparison.trials):
            if trial.fn is nth_best and (key := self.finished.fingerprints.key(trial.arguments["found"])) in found:
                best = ranking(found[key], trial.arguments["stopped"])[trial.arguments["place"] :]
                numbers |= {(key, one["index"]): i for one in best[:1]}
        return tuple(
            {
                "trial": numbers.get((key, one["index"])), **knobs(one["point"]), "stopped": one["state"] == STOPPED,
                "value": one["value"] if one["state"] != FAILED else None,
            }
            for key, trials in found.items() for one in trials
        )  # fmt: skip

    def search(self) -> tuple[Candidate, ...]:
        node = self.comparison.node(self.comparison.winner)
        facts, record = self.facts(node), self.record(node) if node else None
        alone = facts.get("correct", [])
        names = record.members if record and record.members else range(len(alone))
        return tuple(
            Candidate(names[e["index"]], e["accepted"], alone[e["index"]], facts.get("n", 0), e.get("correct"), e["reason"])
            for e in facts.get("search", ())
        )

    def exhibits(self) -> tuple[Shown, ...]:
        """The further results that are there."""
        found = []
        for e in self.comparison.exhibits:
            if self.record(e.node):
                table = self.finished.value(e.node)
                found.append(Shown(e.name, e.title, e.caption, tuple(table.rows), tuple(table.notes), e.percent, e.draw, e.latex, e.terminal))
        return tuple(found)

    def cosines(self) -> tuple[tuple[float, ...], ...]:
        node = self.finished.plan.targets.get("cosines")
        return tuple(map(tuple, self.finished.value(node))) if node and self.record(node) else ()

    def stages(self) -> tuple[Stage, ...]:
        key, told = self.finished.fingerprints.name, {"done": "ran", "hit": "hit", "failed": "failed", "blocked": "blocked"}
        nodes = {key(node): node for node in self.finished.plan.nodes()}
        ran = [name for name in nodes if self.finished.state.get(name) == "done"]
        zero = min((record.started for name in ran if (record := self.record(nodes[name]))), default=0.0)
        found = []
        for name, node in nodes.items():
            state = told.get(self.finished.state.get(name, "hit"), "waiting")
            record = self.record(node)
            inputs = tuple(dict.fromkeys(key(child) for child in children(list(node.arguments.values()))))
            times = (record.seconds, record.started - zero if state == "ran" else None) if record else (None, None)
            host, attempts = (record.host, record.attempts) if record else ("", 1)
            found.append(Stage(name, node.title, node.function, state, times[0], inputs, host, host, times[1], attempts))  # type: ignore[arg-type]
        return tuple(found)

    def failures(self) -> tuple[Failure, ...]:
        return tuple(Failure(key, outcome.kind or outcome.state, outcome.error) for key, outcome in self.finished.failures.items())

    def totals(self) -> Totals:
        nodes = {self.finished.fingerprints.key(node): node for node in self.finished.plan.nodes()}
        records = [record for node in nodes.values() if (record := self.record(node))]
        causes: dict[str, int] = {}
        for failure in self.failures():
            causes[failure.cause] = causes.get(failure.cause, 0) + 1
        stored = sum(file["size"] for record in records for file in record.result.get("files", ()))
        hits = sum(state == "hit" for state in self.finished.state.values())
        spent = sum(record.seconds for record in records)
        taken = self.finished.seconds if "done" in self.finished.state.values() else None
        return Totals(len(self.comparison.trials), causes, self.finished.retries, hits, taken, spent, stored)


def knobs(point: Point) -> dict[str, Any]:
    """The point of a trial without its seeds, which nobody tunes."""
    return {path: value for path, value in point.items() if not path.endswith(".seed")}


def story_of(finished: Finished, study: str, preset: str, command: str) -> Story:
    """The story of a finished study whose plan came from `compare`."""
    comparison: Comparison = finished.plan.about
    teller = Teller(finished, comparison)
    final = comparison.node(comparison.winner)
    models = teller.models()
    uri = teller.uri(final) if any(model.name == comparison.winner for model in models) else ""  # of what failed nothing is handed over
    record = teller.record(final) if final else None
    digests = {candidate.name: digest for candidate in comparison.candidates if (digest := teller.digest(candidate.node))}
    digests["table"] = teller.digest(finished.plan.targets["table"])
    return Story(
        study=study, preset=preset, command=command, task=comparison.on.name, created=time.strftime("%Y-%m-%d %H:%M"),
        table=teller.table.rows, splits=teller.splits(), models=models, baseline=comparison.baseline,
        winner=Winner(comparison.winner, uri, teller.digest(final), LOAD.format(uri=uri) if uri else ""),
        trials=teller.trials(), searched=teller.searched(), search=teller.search(), cosines=teller.cosines(), stages=teller.stages(), digests=digests,
        environment=dict(record.environment) if record else {}, failures=teller.failures(), totals=teller.totals(), data=teller.cards(),
        notes=(*teller.table.notes, *([comparison.on.caveat] if comparison.on.caveat else [])),
        noun=comparison.on.noun, exhibits=teller.exhibits(), advises=comparison.advises,
    )  # fmt: skip
