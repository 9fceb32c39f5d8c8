"""A job that several workers compute together: a `TorchTrainer`, driven from the task or the trial that the job is.

Train places the workers and connects their processes. It retries nothing and keeps nothing: whoever drives it tries again, and the job goes on
from its state in the store. Rank 0 is the worker as anywhere; the others make the same call, and what it returns there nobody keeps.
The driver holds no CPU: one that did could keep its own workers waiting for ever.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import ray
from ray.exceptions import RayError
from ray.train import get_context
from ray.train.torch import TorchConfig
from ray.train.v2._internal.execution.callback import WorkerCallback
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import PreemptionError, TrainingFailedError, WorkerGroupError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from infra import settings
from infra.backends.cluster.loss import WORDS, lost, ready_to_leave
from infra.backends.cluster.resources import bundle, needs
from infra.job import Job, Outcome, referred
from infra.run import Guest, Judge
from infra.store import Store
from infra.worker import execute, failed, judged, opened, resolve, source_root

TRAIN = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # between two looks at the workers: what the end of a job waits for
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(7 * 86400),  # a cluster that grows takes its time; asked anew, it would forget for whom
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
FAILURES = FailureConfig(max_failures=0, max_preemption_failures=0, controller_failure_limit=3)  # the last: to start their processes
MOURNING = ("gloo", "NCCL", "nccl", "ProcessGroup", "closed by peer", "reset by peer")  # what a worker says that has lost another


class Heeds(WorkerCallback):
    """Each worker, in its main thread, gets ready to be told to leave."""

    def after_init_train_context(self) -> None:
        ready_to_leave()


class Ended(Exception):
    """A rank has ended before the others, who would wait for it for ever: Train ends them. How it ended is in it."""

    @property
    def outcome(self) -> Outcome:
        found: Outcome = self.args[0]
        return found


class Relay:
    """Where rank 0 asks the process of its trial whether it is to stop."""

    def __init__(self) -> None:
        self.questions: asyncio.Queue[tuple[int, float]] = asyncio.Queue()
        self.answers: asyncio.Queue[bool] = asyncio.Queue()

    async def ask(self, step: int, value: float) -> bool:
        await self.questions.put((step, value))
        return await self.answers.get()

    async def question(self) -> tuple[int, float]:
        return await self.questions.get()

    async def answer(self, stop: bool) -> None:
        await self.answers.put(stop)


def member(config: dict[str, Any]) -> Outcome | None:
    """What each worker does; rank 0 gives the outcome."""
    job, relay, context = config["job"], config["relay"], get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    if rank:
        try:
            assist(job, rank, world)
        except Exception as error:
            raise Ended(judged(failed(job, error, 0.0), job, error)) from None
        return None
    judge: Judge | None = relay and (lambda step, value: bool(ray.get(relay.ask.remote(step, value))))
    outcome = execute(replace(job, world=world), judge=judge)
    if outcome.state == "done" and outcome.seconds:  # it was computed, so the others have come to the end as well
        return outcome
    raise Ended(outcome)


def assist(job: Job, rank: int, world: int) -> None:
    """The call of a job, by another process than the one that records it."""
    settings.configure(worker=True)
    values = opened(Store(job.place.store), list(dict.fromkeys(referred(job.arguments))))
    run = Guest(job.place)
    run.rank, run.world = rank, world
    job.fn(**{name: resolve(value, values) for name, value in job.arguments.items()}, run=run)


def together(job: Job, judge: Judge | None = None) -> Outcome:
    """Run a job on its workers to its outcome; `judge` is asked in this thread."""
    settings.for_children(source_root(), **TRAIN)
    if judge is None:
        return fit(job, None)
    relay: Any = ray.remote(num_cpus=0)(Relay).remote()
    ends: list[Outcome] = []
    thread = threading.Thread(target=lambda: ends.append(fit(job, relay)), name="trainer", daemon=True)
    thread.start()
    question = relay.question.remote()
    while thread.is_alive():
        if ray.wait([question], timeout=0.2)[0]:
            ray.get(relay.answer.remote(judge(*ray.get(question))))
            question = relay.question.remote()
    ray.kill(relay)
    return ends[0]


def fit(job: Job, relay: Any) -> Outcome:
    """One attempt."""
    on, own, heeds = job.on, bundle(needs(job.on)), cast(Any, Heeds())
    try:
        with tempfile.TemporaryDirectory(prefix="stockpot-train-") as folder:
            trainer: Any = TorchTrainer(
                member,
                train_loop_config={"job": job, "relay": relay},
                torch_config=TorchConfig(backend="nccl" if on.gpus else "gloo"),
                scaling_config=ScalingConfig(num_workers=on.workers, use_gpu=on.gpus > 0, resources_per_worker=own),
                run_config=RunConfig(name=job.key, storage_path=folder, failure_config=FAILURES, callbacks=[heeds]),
            )
            outcome: Outcome = trainer.fit().return_value
            return outcome
    except WorkerGroupError as error:
        return cause(job, error.worker_failures)
    except (TrainingFailedError, RayError) as error:
        kind = "node" if isinstance(error, PreemptionError) else lost(job, error).kind
        return gone(job, kind, f"its {job.on.workers} workers could not be run: {first_line(error)}")
    except Exception as error:  # of this machine, or a bug: whoever waits for the end of the thread gets one
        return failed(job, error, 0.0)


def cause(job: Job, failures: Mapping[int, Exception]) -> Outcome:
    """Why a group ended: what the lowest rank says, unless it says that it lost another."""
    outcomes = [error.outcome for _, error in sorted(failures.items()) if isinstance(error, Ended)]
    own = (outcome for outcome in outcomes if not any(word in outcome.error for word in MOURNING))
    kinds = (lost(job, getattr(error, "health_check_failure", error)).kind for error in failures.values())
    return next(own, gone(job, next(filter(None, kinds), ""), f"of its {job.on.workers} workers one went away"))


def gone(job: Job, kind: str, reason: str) -> Outcome:
    """An attempt that was lost; Ray's own words for the kind are what a trial that raises it is known by."""
    return Outcome(job.key, "lost", reason + (f": {WORDS[kind][0]}" if kind else ""), kind)


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
