"""What is said of a process that went away, and of a cluster that cannot be joined."""

from __future__ import annotations

import platform
from dataclasses import replace

import pytest
import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

from infra.backends.cluster.head import reason
from infra.backends.cluster.loss import given_up, kind_of, lost, raised
from infra.job import Job, Site
from infra.node import Resources
from tests.infra.toys import Large, exhausts

JOB = Job("exhausts-1", "1", exhausts, {"index": 1, "bad": 1, "update": Large()}, {}, Resources(), Site("store", "run", ""))
NOTHING = replace(JOB, arguments={})


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (NodeDiedError("a node"), "node", "NodeDiedError: its machine went away"),
        (WorkerCrashedError(), "", "WorkerCrashedError: its worker process went away"),
        (OutOfMemoryError("Task was killed due to the node running low on memory."), "oom", "out of memory with a batch of 4096: OutOfMemoryError: "),
    ],
)
def test_a_task_is_told_why_its_process_is_gone_and_one_without_memory_the_batch_it_had(error: Exception, kind: str, told: str) -> None:
    outcome = lost(JOB, error)
    assert (outcome.state, outcome.kind) == ("lost", kind) and outcome.error.startswith(told) and "\n" not in outcome.error
    assert ("a smaller batch" in outcome.error) == (kind == "oom")


def test_a_trial_that_is_given_up_says_how_often_and_why() -> None:
    told = "Task was killed due to the node running low on memory.\nmore of it"
    assert kind_of(told) == "oom" and raised(told) is None
    outcome = given_up(NOTHING, 2, "oom", told)
    assert outcome.error.startswith("out of memory: its process was lost 2 times; the last time its machine ran short of memory: Task was killed")
    assert "\n" not in outcome.error and given_up(NOTHING, 6, "", "").error.endswith("its worker process went away: no reason given")


def test_a_cluster_with_another_ray_or_python_is_told_with_both_and_the_remedy() -> None:
    from ray._private.utils import check_version_info

    with pytest.raises(Exception) as caught:
        check_version_info({"ray_version": "2.9.3", "python_version": "3.10.4"}, "here")
    told = reason(caught.value)
    assert all(version in told for version in ("2.9.3", "3.10.4", ray.__version__, platform.python_version())) and "\n" not in told
    assert told.endswith("; give it the Ray and the Python of this machine, or the other way round")
    assert reason(RuntimeError()) == "RuntimeError"
    unreached = reason(ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379\n..."))
    assert unreached.startswith("Failed to connect to Ray cluster at 10.0.0.1:6379; check --ray, and whether its token is wanted here (RAY_AUTH")


IMPORT = "The actor died because of an error raised in its creation task, ray::Pack.__init__()\nModuleNotFoundError: No module named 'mine'"
TIMEOUT = "ray::Pack.reset()\nTraceback (most recent call last):\n  ...\nray.exceptions.GetTimeoutError: timed out"


@pytest.mark.parametrize(("told", "kind", "cause"), [
    ("The actor died unexpectedly before finishing this task.\nThe actor died because its node has died. Node Id: 1f", "node", ""),
    ("The actor 5c is unavailable: The actor is temporarily unavailable: RpcError: Socket closed.", "node", ""),
    ("Task was killed due to the node running low on memory.", "oom", ""),
    ("The actor died unexpectedly before finishing this task.\nWorker unexpectedly exits with a connection error code 2.", "", ""),
    (IMPORT, "", "ModuleNotFoundError: No module named 'mine'"),
    (TIMEOUT, "", ""),
    ("", "", ""),
])  # fmt: skip
def test_what_ray_says_tells_a_lost_machine_from_a_lost_process_and_both_from_an_error_of_ours(told: str, kind: str, cause: str) -> None:
    assert kind_of(told) == kind and str(raised(told) or "") == cause
