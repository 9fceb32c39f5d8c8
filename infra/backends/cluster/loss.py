"""Why a process of Ray's went away, and how one learns that its node is about to."""

from __future__ import annotations

import contextlib
import functools
import threading
import time

import ray
from ray.util import get_current_placement_group, placement_group_table

from infra import notice
from infra.errors import INFRASTRUCTURE
from infra.job import Job, Outcome
from infra.worker import out_of_memory

PERIOD = 4.0  # seconds between two looks at the nodes that are drained: a machine is told half a minute before it goes, or more
KINDS = {"NodeDiedError": "node", "LocalRayletDiedError": "node", "OutOfMemoryError": "oom"}  # Ray's exceptions
WORDS = {"oom": ("running low on memory",), "node": ("node has died", "node was terminated", "is unavailable")}  # the last: for a while
TOLD = {"node": "its machine went away", "oom": "its machine ran short of memory", "": "its worker process went away"}


class Lost(Exception):
    """A worker of a job that several compute went away: raised by the trial that drives them, so that Tune begins it again."""


def plain(told: str) -> str:
    """What Ray says of the end of a process; of a trial that raised `Lost`, what that says."""
    return told.rpartition(f"{Lost.__module__}.{Lost.__name__}: ")[2]


def kind_of(told: str) -> str:
    """Why a process went away, by what Ray says of it: "node", "oom" or "", as `Outcome.kind` has it."""
    return next((kind for kind, words in WORDS.items() if any(each in told for each in words)), "")


def raised(told: str) -> Exception | None:
    """What a worker raised outside of a component, where that is why it is gone: a job that cannot be read there, settings that are wrong."""
    last = (told.strip().splitlines() or [""])[-1]
    ours = "Traceback (most recent call last)" in told or "error raised in its creation task" in told
    return RuntimeError(last) if ours and not last.startswith("ray.exceptions.") else None  # Ray's own are of this one machine or moment


def lost(job: Job, error: BaseException) -> Outcome:
    """A job whose process went away."""
    kind = KINDS.get(type(error).__name__) or kind_of(str(error))
    reason = f"{type(error).__name__}: {TOLD[kind]}"
    return Outcome(job.key, "lost", out_of_memory(job, reason) if kind == "oom" else reason, kind)


def given_up(job: Job, times: int, kind: str, told: str) -> Outcome:
    """A job that lost its process too often."""
    reason = f"its process was lost {times} times; the last time {TOLD[kind]}: {(told.strip() or 'no reason given').splitlines()[0]}"
    if kind == "oom":
        return Outcome(job.key, "failed", out_of_memory(job, reason), kind, INFRASTRUCTURE)
    return Outcome(job.key, "failed", reason, kind or "lost", INFRASTRUCTURE)


def ready_to_leave() -> None:
    """From now on this worker heeds SIGTERM, and the draining of its node."""
    notice.heed()
    _watch()


@functools.cache
def _watch() -> None:
    threading.Thread(target=_look, name="drain-watch", daemon=True).start()


def _look() -> None:
    while not notice.given():
        with contextlib.suppress(Exception):  # the head may be away for a while
            if not machines().isdisjoint(ray._private.state.state.get_draining_nodes()):
                notice.give()
        time.sleep(PERIOD)


def machines() -> set[str]:
    """The node of this worker, and those of the others where several compute one job: the first of them saves for all."""
    group = get_current_placement_group()
    others = placement_group_table(group)["bundles_to_node_id"].values() if group else ()
    return {ray.get_runtime_context().get_node_id(), *others}
