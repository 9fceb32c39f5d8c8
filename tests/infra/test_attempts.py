"""What goes wrong is begun again as often as that can help: processes told to leave, that hang, that are lost; errors that may be chance."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import attempts
from infra.attempts import CRASHES, LOSSES, Attempts
from infra.dag import call, grid, sweep
from infra.job import Outcome
from infra.node import Node
from tests.infra.toys import Large, add, exhausts, strays, stumbles
from tests.infra.world import World

LOST = Outcome("key", "lost")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def straying(world: World, how: str) -> Node:
    return call(strays, step=5, to=9, marker=str(world.folder / "marker"), how=how)


def test_a_worker_that_is_told_to_leave_keeps_its_state_and_another_goes_on_from_that_very_step(world: World) -> None:
    """States are due once a minute: only the notice explains this one."""
    node = straying(world, "told")
    finished = world.run(x=node)
    assert finished.exit_code == 0 and finished.value(node) == [i * 0.1 for i in range(9)]
    assert [event["step"] for event in world.journal("left")] == [event["step"] for event in world.journal("restored")] == [6]
    steps = [event["step"] for event in world.journal("metric")]
    assert steps == list(range(9))


@pytest.mark.parametrize("how", ["hangs", "holds the lock"])
def test_a_training_that_hangs_is_ended_and_goes_on_from_its_state(world: World, how: str) -> None:
    world.hung = 1.0
    node = straying(world, how)
    finished = world.run(x=node)
    assert finished.exit_code == 0 and finished.value(node) == [i * 0.1 for i in range(9)] and finished.retries == 1
    assert [event["step"] for event in world.journal("restored")] == [5]
    assert len(world.journal("hung")) == (how == "hangs")  # where no thread can run, none can tell


def test_a_training_that_looks_at_its_monitor_for_long_is_left_alone(world: World) -> None:
    world.hung = 4.0
    finished = world.run(x=straying(world, "looks"))
    assert finished.exit_code == 0 and finished.retries == 0 and not world.journal("hung")


def test_what_makes_no_steps_has_no_heartbeat(world: World) -> None:
    world.hung = 0.5
    node = call(strays, step=0, to=1, marker=str(world.folder / "marker"), how="told")
    assert world.run(x=node).exit_code == 0


@pytest.mark.parametrize(("times", "kind", "tried", "code"), [(1, "RuntimeError", 2, 0), (9, "RuntimeError", 2, 1), (9, "TypeError", 1, 1)])
def test_an_error_that_comes_again_is_no_chance(world: World, times: int, kind: str, tried: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts.random, "uniform", lambda low, high: 0.0)
    marker = world.folder / "marker"
    assert world.run(x=call(stumbles, marker=str(marker), times=times, kind=kind)).exit_code == code
    assert len(marker.read_text()) == tried


def test_a_trial_without_memory_is_marked_with_its_batch_and_the_others_stand(world: World) -> None:
    trials = sweep(exhausts, over=grid({"index": [0, 1, 2]}), bad=1, update=Large())
    finished = world.run(sum=call(add, terms=trials, at_least=2))
    assert finished.exit_code == 3 and finished.value(finished.plan.targets["sum"]) == 2
    failure = world.store.failures([finished.fingerprints.key(trials[1])])[finished.fingerprints.key(trials[1])]
    assert failure["kind"] == "oom" and failure["error"].startswith("out of memory with a batch of 4096: Unable to allocate 1.5 TiB; ")


def test_a_loss_after_which_nothing_was_gained_counts_and_any_other_does_not() -> None:
    counted, step = Attempts(), 0
    for step in range(10 * CRASHES):
        assert counted.again("x", LOST, lambda step=step: step) == 0.0  # type: ignore[misc]
    tries = [counted.again("x", LOST, lambda: step) for _ in range(CRASHES + 1)]
    assert tries == [0.0] * (CRASHES - 1) + [None, None] and counted.count("x") == 11 * CRASHES + 1


@pytest.mark.parametrize(("kind", "allowed"), [*LOSSES.items(), ("", CRASHES)])
def test_a_machine_may_go_away_often_and_memory_fall_short_once(kind: str, allowed: int) -> None:
    counted = Attempts()
    assert [counted.lost("x", kind, lambda: 0) for _ in range(allowed + 1)] == [True] * allowed + [False]
