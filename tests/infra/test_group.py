"""Jobs of several workers on a real Ray: lost workers, failures on any rank, searches, and a model that two processes train."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data.digits import Digits
from components.data.split import Split
from components.models.heads import zero_shot
from components.models.openclip import OpenClip, pretrained
from components.objectives.classification import CrossEntropy
from components.train import train
from infra.dag import ASHA, Node, Random, Resources, call, grid, search, sweep, top
from infra.job import Job, Site
from infra.space import Uniform
from tests.infra.test_cluster import World, backend, world
from tests.infra.toys import Deadly, number, shares

__all__ = ["backend", "world"]
pytestmark = pytest.mark.cluster

TWO = Resources(cpus=1, workers=2)
WHOLE = Resources(cpus=2)  # of the machine: waits for ever where a group has not given its own back


def test_a_lost_worker_is_replaced_and_the_job_goes_on_from_its_state(world: World) -> None:
    kill = [str(world.folder / name) for name in ("task", "trial")]
    task = call(shares, on=TWO, values=[1.0, 2.0, 3.0], kill=kill[0])
    trials = sweep(shares, on=TWO, over=grid({"scale": [1.0, 2.0]}), values=[4.0], kill=kill[1])
    finished = world.run(task=task, one=trials[0], two=trials[1])
    assert [finished.value(node) for node in (task, *trials)] == [[18.0, 2], [12.0, 2], [24.0, 2]]
    assert finished.retries == 1 and [event["step"] for event in world.journal("restored")] == [1, 1]  # of the trial it was Tune
    steps = [(event["fingerprint"], event["step"]) for event in world.journal("metric")]
    assert len(steps) == len(set(steps)) == 9  # and one process logs


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_failure_on_any_rank_is_its_one_line_and_everything_is_given_back(rank: str, world: World) -> None:
    node, after = call(shares, on=TWO, values=[1.0, 2.0], fail=rank), call(number, on=WHOLE, value=7)
    finished = world.run(x=node)
    (failure,) = finished.failures.values()
    assert (failure.error, failure.kind, failure.code) == (f"rank {rank} is damaged", "DataError", 5) and not finished.retries
    assert world.run(x=after).value(after) == 7


def test_what_no_worker_raised_is_an_outcome_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.backends.cluster.group import together

    job = Job("shares-1", "1", shares, {}, {}, TWO, Site(str(tmp_path), str(tmp_path), ""))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    outcome = together(job)
    assert (outcome.state, outcome.kind, outcome.retry) == ("failed", "FileNotFoundError", True) and "\n" not in outcome.error


def test_a_component_without_ranks_gets_one_worker(world: World) -> None:
    node = call(number, on=TWO, value=1)
    assert world.run(x=node).value(node) == 1


def test_a_search_stops_groups_too(world: World) -> None:
    over = {"scale": Uniform(0.0, 1.0)}
    node = search(shares, on=TWO, over=over, n=3, scheduler=ASHA(4, 1, 2), searcher=Random(1), values=[1.0, 2.0], steps=4, monitor=1)
    finished = world.run(s=node, best=top(node, 1)[0])
    trials = finished.value(node)
    assert sorted({trial["state"] for trial in trials}) == ["done", "stopped"] and all(trial["looks"] for trial in trials)
    for trial in trials:
        assert world.store.load(trial["key"]) == pytest.approx([3.0 * trial["point"]["scale"] * trial["step"], 2])


INIT = call(zero_shot, model=call(pretrained, model=OpenClip()), classes=tuple("0123456789"), prompts=("the digit {}",))


def training(on: Resources, **update: Any) -> Node:
    """Ten steps, before the eighth of which something happens."""
    deadly = Deadly(lr=1e-3, batch=24, warmup=3, at=7, **update)
    return call(train, on=on, init=INIT, data=Split(Digits(), 0.0, 0.3), objective=CrossEntropy(mixup=0.3), update=deadly, steps=10)


def assert_close(one: Any, two: Any, base: Any, atol: float = 1e-6) -> None:
    """Two checkpoints are the same but for rounding, and not that from which they began."""
    alone, before = dict(one.tensors()), dict(base.tensors())
    for key, value in two.tensors():
        np.testing.assert_allclose(value, alone[key], rtol=1e-5, atol=atol, err_msg=key)
    assert any(not np.array_equal(before[key], value) for key, value in alone.items())


def test_two_workers_of_which_one_is_killed_train_what_one_does(world: World) -> None:
    world.every = 0.0
    one, two = training(Resources(), accumulation=2), training(TWO, kill=str(world.folder / "kill"))
    finished = world.run(one=one, two=two)
    assert finished.exit_code == 0 and finished.retries == 1 and [event["step"] for event in world.journal("restored")] == [7]
    assert_close(finished.value(one), finished.value(two), finished.value(INIT))


def test_one_goes_on_with_what_two_have_left(world: World) -> None:
    """As where the same command is given again with another `--on.workers`."""
    world.every = 0.0
    halted = {"kill": str(world.folder / "halt"), "halts": True}
    assert world.run(x=training(TWO, **halted)).exit_code == 5
    again, whole = training(Resources(), **halted), training(Resources())
    finished = world.run(again=again, whole=whole)
    assert finished.exit_code == 0 and [event["step"] for event in world.journal("restored")] == [7]
    assert_close(finished.value(whole), finished.value(again), finished.value(INIT), 1e-4)  # seven steps of two micro-batches, which round otherwise
