"""Describing: typos fail at once, sweeps place their points, and what is written twice is one node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from components.types import revision
from infra.dag import GPU, Fingerprints, Plan, call, grid, sweep
from infra.schedule import Schedule


@revision(1)
@dataclass(frozen=True)
class Update:
    rate: float = 0.1


@revision(1)
def source(value: float) -> float:
    return value


@revision(1)
def tune(init: float, update: Update, steps: int = 10) -> float:
    return init


@revision(1)
def merge(models: list[float]) -> float:
    return sum(models)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"init": 0, "update": Update(), "stepz": 1}, "tune() has no argument 'stepz'; did you mean 'steps'?"),
        ({"init": 0, "update": Update(), "zebra": 1}, "tune() has no argument 'zebra'; it takes init, update, steps"),
        ({"steps": 1}, "tune() needs init, update"),
    ],
)
def test_a_wrong_argument_fails_when_it_is_written(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call(tune, **arguments)
    assert str(caught.value) == message


def test_a_sweep_is_one_group_of_placed_calls() -> None:
    a, b = call(source, value=1), call(source, value=2)
    nodes = sweep(tune, on=GPU, over=grid({"init": [a, b], "update.rate": [0.1, 0.2]}), init=None, update=Update())
    assert [(node.arguments["init"], node.arguments["update"].rate) for node in nodes] == [(a, 0.1), (a, 0.2), (b, 0.1), (b, 0.2)]
    assert len({node.sweep for node in nodes}) == 1 and nodes[0].sweep is not None
    assert [node.title for node in nodes] == ["tune 0", "tune 1", "tune 2", "tune 3"]
    alone = call(tune, init=a, update=Update(0.2))
    assert Fingerprints().of(nodes[1]) == Fingerprints().of(alone)  # a trial is the call that it makes
    with pytest.raises(ValueError, match="no points"):
        sweep(tune, over=[], init=a, update=Update())
    with pytest.raises(ValueError, match="has no field 'rat'"):
        sweep(tune, over=[{"update.rat": 1}], init=a, update=Update())


def test_nodes_come_before_their_dependants_and_once() -> None:
    base = call(source, value=1)
    left, right = call(merge, models=[base, base]), call(merge, models=[base])
    top = call(merge, models=[left, right])
    nodes = Plan({"top": top, "left": left}).nodes()
    assert nodes == [base, left, right, top]


def test_a_deep_plan_needs_no_deep_stack() -> None:
    node = call(source, value=0)
    for _ in range(400):
        node = call(merge, models=[node])
    assert len(Plan({"x": node}).nodes()) == 401


def schedule(plan: Plan, done: Callable[[Sequence[str]], Collection[str]] = lambda keys: ()) -> Schedule:
    return Schedule(plan, Fingerprints().key, done)


def test_equal_calls_are_one_node_of_the_schedule() -> None:
    plan = Plan({"x": call(merge, models=[call(source, value=1), call(source, value=1.0), call(source, value=2)])})
    assert sorted(key.split("-")[0] for key in schedule(plan).nodes) == ["merge", "source", "source"]
