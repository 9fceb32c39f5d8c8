"""The course of a search: which trial is next, what each has shown, which are stopped; the same wherever the trials run.

Every trial has a file `{key}/state/trials/{index}.json` in the store, rewritten with each look at it, before it is told to go on or to stop. From
these a search that was interrupted goes on: it keeps its rungs, and what was decided of a trial that is made again stays decided. One that
cannot be read is made again. (Ray Tune's own state leaves its scheduler out, and is pickled.)
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from infra.attempts import retries
from infra.errors import IntegrityError, StoreError
from infra.identity import Canon, digest, makes_checkpoint, revision_of
from infra.job import Job, Outcome, Ref, referred
from infra.node import Node
from infra.run import Judge
from infra.search import DONE, FAILED, STOPPED, Drawn, Random, Rungs, Search, Suggestions, Trial, nth_best, ranking
from infra.space import Point, place
from infra.store import Record, Store
from infra.store.pins import pinned
from infra.store.record import NAME
from infra.tracking.journal import Journal
from infra.worker import environment, execute, failed

AWAY = ("Away", "Refused")  # the store is not to be had: no trial would fare better


def suggestions(search: Search) -> Suggestions:
    if isinstance(search.searcher, Random):
        return Drawn(search)
    from infra.backends.cluster.suggestions import Learned

    return Learned(search)


def chosen(node: Node, store: Store, key: Callable[[Node], str]) -> dict[str, Ref]:
    """What a place in a search's ranking stands for, where that has so many trials; {} for any other node."""
    if node.fn is not nth_best:
        return {}
    search, place = key(node.arguments["found"]), node.arguments["place"]
    try:
        keys = [trial["key"] for trial in ranking(store.load(search), node.arguments["stopped"])]
        if not all(NAME.fullmatch(key) for key in keys):
            raise ValueError("a key is no name")
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{store.place.at(search)}: not the trials of a search ({error}); remove the folder to search again") from None
    return {"model": Ref(keys[place])} if place < len(keys) else {}


def trial_job(job: Job, index: int, point: Point) -> Job:
    """The job of one trial of a search, with the identity of the same call in a sweep."""
    arguments = place(job.arguments, point)
    canonical = Canon(job.pins, lambda value: value.key.rpartition("-")[2] if isinstance(value, Ref) else None).arguments(job.fn, arguments)
    fingerprint = digest([job.fn.__name__, revision_of(job.fn), canonical])
    ready = {name: pinned(value, job.pins) for name, value in arguments.items()}
    return replace(
        job, key=f"{job.fn.__name__}-{fingerprint}", fingerprint=fingerprint, arguments=ready, canonical=canonical,
        title=f"{job.title} {index}", point=point, search=None, pins={},
    )  # fmt: skip


def attempted(job: Job, judge: Judge, by: Callable[..., Outcome] = execute) -> Outcome:
    """Run a trial to its outcome; what another try may help against is tried again."""
    outcome = by(job, judge=judge)
    tried = 0
    while tried < retries(outcome) and outcome.kind not in AWAY and not outcome.damaged:
        tried += 1
        time.sleep(2**tried)
        outcome = by(job, judge=judge)
    return outcome


class Course:
    """One search under way, for one thread."""

    def __init__(self, job: Job) -> None:
        assert job.search is not None
        self.job, self.search, self.started = job, job.search, time.time()
        self.store, self.rungs, self.suggestions = Store(job.place.store), Rungs(job.search.scheduler), suggestions(job.search)
        self.trials: list[Trial] = []
        self.running: set[int] = set()
        self.over: Outcome | None = None  # why the search cannot go on
        self._journal = Journal(job.place.folder, f"{job.key}.{os.getpid()}")
        self._recall()

    def _recall(self) -> None:
        """Take up what an earlier attempt has left, as far as it can be read."""
        folder = f"{self.job.key}/state/trials"
        for data in self.store.place.read_many(f"{folder}/{name}" for name in self.store.place.names(folder)).values():
            with contextlib.suppress(ValueError, TypeError, IndexError, AttributeError):
                trial = Trial(**json.loads(data or b""))
                if trial.point.keys() != self.search.over.keys():
                    continue
                trial.looks = [(int(step), float(value), bool(stop)) for step, value, stop in trial.looks]
                last = range(self.search.n)[trial.index]
                self.trials += [Trial(index) for index in range(len(self.trials), last + 1)]
                self.trials[last] = trial
        done = self.store.done([trial.key for trial in self.trials if trial.key])
        for trial in sorted(self.trials, key=lambda trial: trial.order):
            for step, value, _ in trial.looks:
                self.rungs.look(trial.index, step, value)
            if trial.state != FAILED and trial.key not in done:
                trial.state = ""  # it did not end, or its record is gone: it goes on, or is made again as it was
            if trial.state:
                self.suggestions.ended(trial)

    def next(self) -> Trial | None:
        """The next trial to run, or None where none is left or the search is over."""
        if self.over is not None:
            return None
        trial = next((trial for trial in self.trials if not trial.state and trial.index not in self.running), None)
        if trial is None:
            if len(self.trials) == self.search.n:
                return None
            self.trials.append(trial := Trial(len(self.trials)))
        if not trial.point:
            self.suggestions.suggest(trial)
            self._keep(trial)
        self.running.add(trial.index)
        self._note(trial, "running")
        return trial

    def look(self, index: int, step: int, value: float) -> bool:
        """Take in what a trial would give by now, more is better; whether it is to stop. A decision that was made is not made again."""
        trial = self.trials[index]
        for known, _, stop in trial.looks:
            if known == step:
                return stop
        stop = self.rungs.look(index, step, value) or trial.stopped
        trial.looks.append((step, value, stop))
        self._keep(trial)
        return stop

    def ended(self, index: int, outcome: Outcome) -> None:
        """Take in how a trial ended; where none could fare better, the search is over."""
        trial = self.trials[index]
        self.running.discard(index)
        if outcome.state == "stopped" or outcome.kind in AWAY or outcome.damaged:
            self.over = self.over or replace(outcome, key=self.job.key)
            return
        trial.order = 1 + max(each.order for each in self.trials)
        trial.key = outcome.recorded or trial_job(self.job, index, trial.point).key
        trial.state, trial.error = (STOPPED if outcome.recorded else DONE, "") if outcome.state == "done" else (FAILED, outcome.error)
        if trial.state != FAILED and not trial.looks:
            trial.state, trial.error = FAILED, f"{self.job.fn.__name__} told no value to choose by: let it call run.enough"
        if trial.state == FAILED:
            with contextlib.suppress(StoreError):
                facts = {"error": trial.error, "kind": outcome.kind or outcome.state, "traceback": outcome.traceback, "time": time.time()}
                self.store.fail(trial.key, facts)
        self.suggestions.ended(trial)
        self._keep(trial)
        self._note(trial, "failed" if trial.state == FAILED else "done")

    def outcome(self) -> Outcome:
        """How the search ended; where every trial has, it is recorded. It fails where all of them did."""
        if self.over is not None:
            return self.over
        value = [self._told(trial) for trial in self.trials]
        if not ranking(value, stopped=True):
            return Outcome(self.job.key, "failed", f"all {len(value)} trials failed, the first with: {value[0]['error']}", "Trials", 2)
        keys = [*dict.fromkeys(referred(self.job.arguments)), *dict.fromkeys(t["key"] for t in value if t["state"] != FAILED)]
        counts = {state: sum(trial["state"] == state for trial in value) for state in (DONE, STOPPED, FAILED)}
        self.store.fetch(keys)
        self.store.publish(Record(
            key=self.job.key, function="infra.dag:search", fingerprint=self.job.fingerprint, revision=revision_of(self.job.fn),
            arguments=self.job.canonical, inputs={key: self.store.finished(key).digest for key in keys}, result={"value": value}, summary=counts,
            data=self.job.data, members=self.job.members, environment=environment(), host=socket.gethostname(), started=self.started,
            seconds=round(time.time() - self.started, 3), attempts=self.job.attempt,
        ))  # fmt: skip
        return Outcome(self.job.key, "done", seconds=time.time() - self.started)

    def close(self) -> None:
        self._journal.close()

    def _told(self, trial: Trial) -> dict[str, Any]:
        """What the record says of a trial; its value is that of the last look, when it ended."""
        looks = [[step, value] for step, value, _ in trial.looks]
        step, value = looks[-1] if looks else (0, None)
        facts = {"index": trial.index, "point": dict(trial.point), "state": trial.state, "step": step, "value": value, "key": trial.key}
        return facts | ({"looks": looks, "error": trial.error} if trial.error else {"looks": looks})

    def _keep(self, trial: Trial) -> None:
        self.store.place.write(f"{self.job.key}/state/trials/{trial.index}.json", json.dumps(asdict(trial)).encode())

    def _note(self, trial: Trial, state: str) -> None:
        """Tell the journal, as the runner does of nodes."""
        if not makes_checkpoint(self.job.fn):
            return
        job = trial_job(self.job, trial.index, trial.point)
        facts: dict[str, Any] = {"reason": trial.error} if trial.error else {}
        if state == "done" and (record := self.store.record(trial.key)) and "attempt" in record.result:
            facts = {"uri": self.store.payload(record), "digest": record.digest, "duration": record.seconds}
        of = {"fingerprint": job.fingerprint, "function": job.fn.__name__, "label": job.title, "params": dict(trial.point)}
        self._journal.write("node", **of, state=state, is_checkpoint=True, **facts)


def conduct(job: Job) -> Outcome:
    """A search in this process, one trial after another."""
    try:
        with contextlib.closing(Course(job)) as course:
            while (trial := course.next()) is not None:
                own = trial_job(job, trial.index, trial.point)
                course.ended(trial.index, attempted(own, functools.partial(course.look, trial.index)))
            return course.outcome()
    except Exception as error:  # of the store, or a bug: the runner decides
        return failed(job, error, 0.0)
