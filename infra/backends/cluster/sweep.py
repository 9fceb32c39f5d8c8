"""A sweep is one `ray.tune.Tuner`: Tune schedules the trials and begins lost ones again; the store remembers, Tune's own state is scratch."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import FIFOScheduler

from infra.attempts import Attempts
from infra.backends.cluster.loss import Lost, given_up, kind_of, plain, raised, ready_to_leave
from infra.backends.cluster.resources import bundle, needs
from infra.errors import StoreError
from infra.job import Job, Outcome
from infra.node import Resources
from infra.run import Judge
from infra.store import Store
from infra.store.place import Place
from infra.store.state import reached
from infra.worker import execute

# Tune would hand the driver's AWS keys to each trial by a runtime_env, which Ray logs in full; nodes have credentials of their own
class_cache.ENV_VARS_TO_PROPAGATE -= {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
REGISTRY = threading.Lock()  # Tune's, one for the process: it knows a trainable by its name, and takes one at a time
EVERY = 0.5  # seconds of work after which a trial tells its outcomes so far
TOGETHER = 64  # jobs in one object of Ray's store, or as many as a trial has


def carry_out(job: Job, judge: Judge | None = None) -> Outcome:
    """Run a job in this process, or on workers of its own; where one of these went away, the trial has an end like that of a lost process."""
    if job.on.workers == 1:
        return execute(job, judge=judge)
    from infra.backends.cluster import group

    outcome = group.together(job, judge)
    if outcome.state == "lost":
        raise Lost(outcome.error)
    return outcome


class Pack(tune.Trainable):
    """One Tune trial: the jobs of a pack in turn, each with its own record; exceptions of components come back as outcomes."""

    def setup(self, config: Mapping[str, Any], objects: Sequence[Any] = (), pack: int = 1) -> None:
        ready_to_leave()
        self.objects, self.pack = objects, pack
        self.reset_config(config)

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Another trial in the same process."""
        each = together(self.pack)
        where, at = divmod(new_config["index"] * self.pack, each)
        without = new_config.get("without", ())
        self.left = deque[Job](job for job in ray.get(self.objects[where])[at : at + self.pack] if job.key not in without)
        return True

    def step(self) -> dict[str, Any]:
        """What some of the jobs came to."""
        until, outcomes = time.monotonic() + EVERY, []
        while self.left and time.monotonic() < until:
            outcomes.append(carry_out(self.left.popleft()))
        return {"outcomes": outcomes, "done": not self.left}


def together(pack: int) -> int:
    """How many jobs lie in one object: whole packs."""
    return max(1, TOGETHER // pack) * pack


class Trials(FIFOScheduler):  # not a tune.Callback: for one, Tune imports every tracking library that it finds
    """Trials in their order. One that loses its process is begun again, as often as `Attempts` has it; then without the job that it was at."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.attempts = Attempts()

    def __getstate__(self) -> dict[str, Any]:
        """Tune writes its scheduler into its own state, which nobody reads."""
        return {}

    def at(self, trial: Any) -> Job | None:
        """The job that a trial is at, or None where it has ended all."""
        raise NotImplementedError

    def tell(self, trial: Any, outcome: Outcome) -> None:
        """Pass on how a job ended."""
        raise NotImplementedError

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Tune is about to begin it again."""
        told = ""
        with contextlib.suppress(OSError):
            told = plain(re.split(r"^Failure # .*\n", Path(trial.error_file).read_text(), flags=re.MULTILINE)[-1])
        if cause := raised(told):
            raise cause
        with contextlib.suppress(StoreError):  # begun again uncounted: where the store is away, the runner hears of it by itself
            self._count(trial, told)

    def _count(self, trial: Any, told: str) -> None:
        if job := self.at(trial):
            kind = kind_of(told)
            if not self.attempts.lost(job.key, kind, lambda: reached(Place(job.place.store), job.key)):
                self.tell(trial, given_up(job, self.attempts.losses[job.key], kind, told))
                trial.config["without"] = [*trial.config.get("without", ()), job.key]


class Notify(Trials):
    """Each outcome is passed on as it comes, and once."""

    def __init__(self, jobs: Sequence[Job], pack: int, send: Callable[[Outcome], None]) -> None:
        super().__init__()
        self.jobs, self.pack, self.send = jobs, pack, send
        self.told: set[str] = set()

    def at(self, trial: Any) -> Job | None:
        first = trial.config["index"] * self.pack
        left = [job for job in self.jobs[first : first + self.pack] if job.key not in self.told]
        done = Store(left[0].place.store).done([job.key for job in left]) if left else ()
        return next((job for job in left if job.key not in done), None)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        for outcome in result.get("outcomes", ()):
            self.tell(trial, outcome)
        return str(FIFOScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.on_trial_result(tune_controller, trial, result)

    def tell(self, trial: Any, outcome: Outcome) -> None:
        if outcome.key not in self.told:
            self.told.add(outcome.key)
            self.send(outcome)


def run_sweep(jobs: Sequence[Job], pack: int, most: int, folder: str, send: Callable[[Outcome], None]) -> None:
    """Run all jobs of a sweep to their outcomes, each sent exactly once; `most` trials at once, 0: as many as there is room for."""
    notify = Notify(jobs, pack, send)
    reason = "Tune ended without an outcome"
    try:
        each = together(pack)
        objects = [ray.put(list(jobs[at : at + each])) for at in range(0, len(jobs), each)]
        trainable, count = tune.with_parameters(Pack, objects=objects, pack=pack), -(-len(jobs) // pack)
        space = {"index": tune.grid_search(list(range(count)))}
        tuned(trainable, jobs[0].on, folder, notify, param_space=space, max_concurrent_trials=most or None)
    except Exception as error:  # of Tune, or of our part of a trial
        reason = f"the sweep ended: {type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
    finally:
        for job in jobs:
            notify.tell(None, Outcome(job.key, "failed", reason, "lost", 4))
        shutil.rmtree(folder, ignore_errors=True)


def tuned(trainable: Any, on: Resources, folder: str, scheduler: Trials, param_space: Any = None, **config: Any) -> None:
    """One Tuner to its end. Whether a trial that lost its process is begun again is the scheduler's to say."""
    name = f"trial-{uuid.uuid4().hex}"
    # where its workers hold what it needs, a trial holds a byte: Tune knows no trial that holds nothing
    resources = tune.PlacementGroupFactory([bundle(needs(on)) if on.workers == 1 else {"memory": 1}])
    with REGISTRY:
        tune.register_trainable(name, tune.with_resources(trainable, resources))
    always, never = tune.FailureConfig(max_failures=-1), tune.CheckpointConfig(checkpoint_at_end=False)
    tune.Tuner(
        name,
        param_space=param_space,
        tune_config=tune.TuneConfig(reuse_actors=True, scheduler=scheduler, **config),
        run_config=tune.RunConfig(name="sweep", storage_path=folder, verbose=0, failure_config=always, checkpoint_config=never),
    ).fit()
