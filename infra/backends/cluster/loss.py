"""Why a process of Ray's went away, and how one learns that its node is about to."""

from __future__ import annotations

import contextlib
import functools
import threading
import time

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, LocalRayletDiedError, NodeDiedError, OutOfMemoryError, RayTaskError

from infra import notice
from infra.job import Job, Outcome
from infra.worker import out_of_memory

PERIOD = 4.0  # seconds between two looks at the nodes that are drained: a machine is told half a minute before it goes, or more
TOLD = {"node": "its machine went away", "oom": "it was killed, for its machine ran short of memory", "": "its worker process went away"}


def kind_of(error: BaseException | None) -> str:
    """ "node", "oom" or "", as `Outcome.kind` has it."""
    text = str(error)
    if isinstance(error, OutOfMemoryError) or "running low on memory" in text:
        return "oom"
    # a node that does not answer counts as alive until some health checks were missed
    node = isinstance(error, ActorUnavailableError | NodeDiedError | LocalRayletDiedError) or getattr(error, "preempted", False) or "node has died" in text
    return "node" if node else ""


def raised(error: BaseException | None) -> Exception | None:
    """What a worker raised outside of a component, where that is why it is gone: a job that cannot be read there, settings that are wrong."""
    if isinstance(error, RayTaskError):
        return error.cause if isinstance(error.cause, Exception) else error
    if isinstance(error, ActorDiedError) and "error raised in its creation task" in str(error):
        return RuntimeError(str(error).strip().splitlines()[-1])
    return None


def lost(job: Job, error: BaseException) -> Outcome:
    """A job whose process went away."""
    kind = kind_of(error)
    return Outcome(job.key, "lost", f"{type(error).__name__}: {TOLD[kind]}", kind)


def given_up(job: Job, times: int, kind: str, error: BaseException | None) -> Outcome:
    """A job that lost its process too often."""
    last = (str(error).strip() or "no reason given").splitlines()[0]
    reason = f"its process was lost {times} times, the last time for {TOLD[kind].removeprefix('it was killed, for ')}: {last}"
    if kind == "oom":
        return Outcome(job.key, "failed", out_of_memory(job, reason), kind, 4)
    return Outcome(job.key, "failed", reason, kind or "lost", 4)


def ready_to_leave() -> None:
    """From now on this worker heeds SIGTERM, and the draining of its node."""
    notice.heed()
    _watch()


@functools.cache
def _watch() -> None:
    threading.Thread(target=_look, name="drain-watch", daemon=True).start()


def _look() -> None:
    own = ray.get_runtime_context().get_node_id()
    while not notice.given():
        with contextlib.suppress(Exception):  # the head may be away for a while
            if own in ray._private.state.state.get_draining_nodes():
                notice.give()
        time.sleep(PERIOD)
