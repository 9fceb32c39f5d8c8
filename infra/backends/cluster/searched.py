"""A search on Ray is one `ray.tune.Tuner`: Tune runs trials side by side and retries lost actors; `Course` says which, and which are stopped.

A trial that Tune stops is gone in the middle of a step. So it is told to stop when it next reports, by an actor, and leaves as one that ends.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher
from ray.tune.trainable import wrap_function

from infra.backends.cluster.loss import ready_to_leave
from infra.backends.cluster.sweep import Trials, carry_out, tuned
from infra.course import Course, attempted, trial_job
from infra.job import Job, Outcome
from infra.worker import failed


class Board:
    """Where trials read whether they are to stop. Begun anew it has forgotten, and is told again at the next look."""

    def __init__(self) -> None:
        self.stopped: dict[int, int] = {}  # trial -> the step at which it was told to stop: one that is made again goes as far

    def stop(self, index: int, step: int) -> None:
        self.stopped.setdefault(index, step)

    def stops(self, index: int, step: int) -> bool:
        return step >= self.stopped.get(index, step + 1)


def trial(config: Mapping[str, Any], job: Job, board: Any) -> None:
    """One trial: each look is reported, and answered before `report` returns."""
    index = config["index"]
    own = trial_job(job, index, config["point"])
    if own.key in config.get("without", ()):
        return

    def judge(step: int, value: float) -> bool:
        tune.report({"step": step, "value": value})
        return bool(ray.get(board.stops.remote(index, step)))

    tune.report({"outcome": attempted(own, judge, carry_out)})


def ready(function: Any) -> Any:
    """A trainable whose process, in its main thread, gets ready to be told to leave; the function runs in another."""

    class Ready(wrap_function(function)):  # type: ignore[misc]
        def setup(self, config: Mapping[str, Any]) -> None:
            ready_to_leave()
            super().setup(config)

    return Ready


class Next(Searcher):
    """The course's next trial."""

    def __init__(self, course: Course) -> None:
        super().__init__()
        self.course = course

    def __getstate__(self) -> dict[str, Any]:
        """Tune writes its searcher and scheduler into its own state, which nobody reads."""
        return {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        found = self.course.next()
        return Searcher.FINISHED if found is None else {"index": found.index, "point": dict(found.point)}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """The course knows."""

    def save(self, checkpoint_path: str) -> None:
        """The course is in the store."""


class Looks(Trials):
    """Passes on what trials report, and what is decided."""

    def __init__(self, course: Course, board: Any) -> None:
        super().__init__()
        self.course, self.board = course, board
        self.told: set[int] = set()

    def at(self, trial: Any) -> Job | None:
        index = trial.config["index"]
        return None if index in self.told else trial_job(self.course.job, index, trial.config["point"])

    def tell(self, trial: Any, outcome: Outcome) -> None:
        index = trial.config["index"]
        if index not in self.told:
            self.told.add(index)
            self.course.ended(index, outcome)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if "outcome" in result:
            self.tell(trial, result["outcome"])
        elif "step" in result and self.course.look(trial.config["index"], result["step"], result["value"]):
            ray.get(self.board.stop.remote(trial.config["index"], result["step"]))
        return str(FIFOScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if "outcome" in result:
            self.on_trial_result(tune_controller, trial, result)


def run_search(job: Job, most: int, send: Callable[[Outcome], None]) -> None:
    """Run a search to its outcome, which is sent once; `most` trials at once, 0: as many as there is room for."""
    folder = tempfile.mkdtemp(prefix="stockpot-tune-")
    try:
        with contextlib.closing(Course(job)) as course:
            send(_run(course, most, folder))
    except Exception as error:  # of the store, of Tune, or a bug: the runner decides
        cause = error.__cause__ if isinstance(error, tune.TuneError) else None  # what its own callbacks raise, Tune wraps
        send(failed(job, cause if isinstance(cause, Exception) else error, 0.0))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(course: Course, most: int, folder: str) -> Outcome:
    board: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Board).remote()
    trainable = ready(tune.with_parameters(trial, job=course.job, board=board))
    left = sum(not each.state for each in course.trials) + course.search.n - len(course.trials)
    if left:
        config = {"search_alg": Next(course), "num_samples": left, "max_concurrent_trials": most or None}
        tuned(trainable, course.job.on, folder, Looks(course, board), **config)
        for index in sorted(course.running) if course.over is None else ():
            course.ended(index, Outcome(course.job.key, "failed", "Tune ended without an outcome", "lost", 4))
    ray.kill(board)
    return course.outcome()
