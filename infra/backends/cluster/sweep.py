"""A sweep is one `ray.tune.Tuner`: Tune schedules the trials and retries lost actors; the store remembers, Tune's own state is scratch."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray import tune

from infra.job import Job, Outcome
from infra.worker import execute

LOSSES = 5  # how often a trial may lose its process (pre-emption, a killed worker) before it counts as failed


def trial(config: Mapping[str, Any], jobs: Sequence[Job], pack: int) -> None:
    """One Tune trial: `pack` jobs in turn, each with its own record; exceptions of components come back as outcomes."""
    for job in jobs[config["index"] * pack : (config["index"] + 1) * pack]:
        tune.report({"outcome": execute(job)})


class Notify(tune.Callback):
    """Passes outcomes on as they come, and says which jobs went down with a trial that Tune gave up."""

    def __init__(self, jobs: Sequence[Job], pack: int, send: Callable[[Outcome], None]) -> None:
        self.jobs, self.pack, self.send = jobs, pack, send
        self.told: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Tune writes its callbacks into its own state, which nobody reads."""
        return {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        if "outcome" in result and result["outcome"].key not in self.told:
            self._tell(result["outcome"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        index = trial.config["index"]
        self.give_up(self.jobs[index * self.pack : (index + 1) * self.pack], f"its process was lost {LOSSES + 1} times")

    def give_up(self, jobs: Sequence[Job], reason: str) -> None:
        for job in jobs:
            if job.key not in self.told:
                self._tell(Outcome(job.key, "lost", reason))

    def _tell(self, outcome: Outcome) -> None:
        self.told.add(outcome.key)
        self.send(outcome)


def run_sweep(jobs: Sequence[Job], pack: int, options: Mapping[str, float], folder: str, send: Callable[[Outcome], None]) -> None:
    """Run all jobs of a sweep to their outcomes, each sent exactly once."""
    notify = Notify(jobs, pack, send)
    resources = {"cpu": options["num_cpus"], "gpu": options["num_gpus"]}
    try:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(trial, jobs=list(jobs), pack=pack), resources),
            param_space={"index": tune.grid_search(list(range(-(-len(jobs) // pack))))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                name="sweep", storage_path=folder, verbose=0, callbacks=[notify], failure_config=tune.FailureConfig(max_failures=LOSSES)
            ),
        )
        tuner.fit()
    except Exception as error:  # whatever Tune dies of, its jobs go back to the runner, which decides
        notify.give_up(jobs, f"Tune ended: {type(error).__name__}: {error}".splitlines()[0])
    finally:
        notify.give_up(jobs, "Tune ended without an outcome")
        shutil.rmtree(folder, ignore_errors=True)
