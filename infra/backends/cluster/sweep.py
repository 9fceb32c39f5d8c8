"""A sweep is one `ray.tune.Tuner`: Tune schedules the trials and retries lost actors; the store remembers, Tune's own state is scratch."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray import tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import FIFOScheduler

from infra.job import Job, Outcome
from infra.worker import execute

# Tune would hand the driver's AWS keys to each trial by a runtime_env, which Ray logs in full; nodes have credentials of their own
class_cache.ENV_VARS_TO_PROPAGATE -= {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")}
REGISTRY = threading.Lock()  # Tune's, one for the process: it knows a trainable by its name, and takes one at a time
LOSSES = 5  # how often a trial may lose its process (pre-emption, a killed worker) before it counts as failed


def trial(config: Mapping[str, Any], jobs: Sequence[Job], pack: int) -> None:
    """One Tune trial: `pack` jobs in turn, each with its own record; exceptions of components come back as outcomes."""
    for job in jobs[config["index"] * pack : (config["index"] + 1) * pack]:
        tune.report({"outcome": execute(job)})


class Notify(FIFOScheduler):  # not a tune.Callback: for one, Tune imports every tracking library that it finds
    """Trials in their order; each outcome is passed on as it comes, and once."""

    def __init__(self, send: Callable[[Outcome], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.send = send
        self.told: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Tune writes its scheduler into its own state, which nobody reads."""
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if "outcome" in result:
            self.tell(result["outcome"])
        return str(FIFOScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.on_trial_result(tune_controller, trial, result)

    def tell(self, outcome: Outcome) -> None:
        if outcome.key not in self.told:
            self.told.add(outcome.key)
            self.send(outcome)


def run_sweep(jobs: Sequence[Job], pack: int, options: Mapping[str, float], folder: str, send: Callable[[Outcome], None]) -> None:
    """Run all jobs of a sweep to their outcomes, each sent exactly once."""
    notify = Notify(send)
    resources = {"cpu": options["num_cpus"], "gpu": options["num_gpus"]}
    reason = "Tune ended without an outcome"
    try:
        name = f"trial-{uuid.uuid4().hex}"
        with REGISTRY:
            tune.register_trainable(name, tune.with_resources(tune.with_parameters(trial, jobs=list(jobs), pack=pack), resources))
        tuner = tune.Tuner(
            name,
            param_space={"index": tune.grid_search(list(range(-(-len(jobs) // pack))))},
            tune_config=tune.TuneConfig(reuse_actors=True, scheduler=notify),
            run_config=tune.RunConfig(name="sweep", storage_path=folder, verbose=0, failure_config=tune.FailureConfig(max_failures=LOSSES)),
        )
        if errors := tuner.fit().errors:
            reason = f"its process was lost {LOSSES + 1} times: {first_line(errors[0])}"
    except Exception as error:  # whatever Tune dies of, its jobs go back to the runner, which decides
        reason = f"Tune ended: {type(error).__name__}: {first_line(error)}"
    finally:
        for job in jobs:
            notify.tell(Outcome(job.key, "lost", reason))
        shutil.rmtree(folder, ignore_errors=True)


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
