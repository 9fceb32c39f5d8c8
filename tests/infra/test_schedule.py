"""The schedule: what runs, what waits, what is blocked, and who survives in a list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from infra.dag import Fingerprints, Node, Plan, call, sweep
from infra.schedule import Schedule, survivors
from pipelines.commands.eta import Eta
from tests.infra.toys import add, named, number, paired


def numbers(n: int) -> list[Node]:
    return [call(number, value=i) for i in range(n)]


def without(*nodes: Node) -> Callable[[Node], bool]:
    return lambda node: node in nodes


def test_a_list_is_all_or_nothing_unless_the_call_says_how_many() -> None:
    a, b, c = models = numbers(3)
    assert survivors(call(add, terms=models), without()) == ({"terms": models}, None)
    assert survivors(call(add, terms=models), without(b)) is None
    assert survivors(call(add, terms=models, at_least=2), without(b)) == ({"terms": [a, c]}, (0, 2))
    assert survivors(call(add, terms=models, at_least=2), without(a, b)) is None


def test_a_missing_index_is_dropped_from_every_list_of_nodes_and_from_no_other() -> None:
    left, right = numbers(3), [call(number, value=10 + i) for i in range(3)]
    node = call(paired, left=left, right=right, names=["x", "y", "z"], at_least=1)
    found = survivors(node, without(left[0], right[2]))
    assert found == ({"left": [left[1]], "right": [right[1]], "names": ["x", "y", "z"]}, (1,))
    assert survivors(call(paired, left=left, right=right[:2], at_least=1), without(left[0])) is None  # nothing says who belongs to whom


def test_a_mapping_loses_members_by_index_as_a_list_does() -> None:
    a, b = numbers(2)
    assert survivors(call(named, models={"a": a, "b": b}, at_least=1), without(a)) == ({"models": {"b": b}}, (1,))
    assert survivors(call(named, models={"a": a, "b": b}), without(a)) is None


def test_a_single_input_cannot_be_missing() -> None:
    (a,) = numbers(1)
    assert survivors(call(number, value=a, at_least=0), without(a)) is None


class World:
    """A schedule with names for its nodes' keys."""

    def __init__(self, plan: Plan, *done: Node) -> None:
        self.key = Fingerprints().key
        finished = {self.key(node) for node in done}
        self.schedule = Schedule(plan, self.key, finished.intersection)

    def ready(self) -> list[Node]:
        return list(self.schedule.ready())

    def finish(self, node: Node, state: str = "done") -> list[str]:
        self.schedule.start(self.key(node))
        return self.schedule.finish(self.key(node), state)

    def state(self, node: Node) -> str:
        return self.schedule.state[self.key(node)]


def test_a_hit_needs_nothing_above_it() -> None:
    a, b = numbers(2)
    left, right = call(add, terms=[a]), call(add, terms=[b])
    world = World(Plan({"left": left, "right": right}), left)
    assert world.state(left) == "hit"
    assert world.ready() == [b]
    assert world.key(a) not in world.schedule.state  # not even looked at


def test_a_failure_blocks_what_depends_on_it_at_any_distance_and_nothing_else() -> None:
    a, b, c = numbers(3)
    near, far, beside = call(add, terms=[a, b]), None, call(add, terms=[b, c])
    far = call(add, terms=[near])
    world = World(Plan({"far": far, "beside": beside}))
    assert world.finish(b) == []
    blocked = world.finish(a, "failed")
    assert blocked == [world.key(near), world.key(far)]
    world.finish(c)
    assert world.ready() == [beside]
    world.finish(beside)
    assert not world.schedule.unfinished()
    assert world.schedule.count("blocked") == 2


def test_blocked_members_count_as_missing() -> None:
    a, b, c = numbers(3)
    via = call(add, terms=[a])
    top = call(add, terms=[via, b, c], at_least=2)
    world = World(Plan({"top": top}))
    world.finish(b)
    world.finish(c)
    assert world.finish(a, "failed") == [world.key(via)]
    assert world.ready() == [top]
    assert survivors(top, world.schedule.missing) == ({"terms": [b, c]}, (1, 2))


def test_every_member_is_awaited_before_at_least_counts() -> None:
    a, b, c = numbers(3)
    top = call(add, terms=[a, b, c], at_least=1)
    world = World(Plan({"top": top}))
    world.finish(a)
    world.finish(b, "failed")
    assert top not in world.ready()
    world.finish(c)
    assert world.ready() == [top]


def test_a_sweep_starts_together() -> None:
    first, second = call(number, value=100), call(number, value=200)
    trials = sweep(number, over=[{"value": first}, {"value": second}])
    world = World(Plan({str(i): trial for i, trial in enumerate(trials)}))
    world.finish(first)
    assert world.ready() == [second]
    world.finish(second)
    assert world.ready() == trials


def test_a_sweep_whose_member_is_blocked_starts_without_it() -> None:
    first, second = call(number, value=100), call(number, value=200)
    trials = sweep(number, over=[{"value": first}, {"value": second}])
    world = World(Plan({str(i): trial for i, trial in enumerate(trials)}))
    world.finish(first)
    assert world.finish(second, "failed") == [world.key(trials[1])]
    assert world.ready() == trials[:1]


def test_a_node_that_is_tried_again_is_ready_again() -> None:
    (a,) = numbers(1)
    world = World(Plan({"a": a}))
    world.schedule.start(world.key(a))
    assert world.ready() == []
    world.schedule.again(world.key(a))
    assert world.ready() == [a]


def test_what_was_done_and_is_damaged_runs_again_with_what_it_needs_and_what_needs_it_waits() -> None:
    a, b = numbers(2)
    left = call(add, terms=[a])
    top, beside = call(add, terms=[left, b]), call(add, terms=[b])
    world = World(Plan({"top": top, "beside": beside}), left, b)
    assert set(map(world.key, world.ready())) == {world.key(top), world.key(beside)}
    world.schedule.start(world.key(top))
    assert world.schedule.reopen([left]) == [world.key(a), world.key(left)]
    assert world.schedule.again(world.key(top)) == []
    assert world.ready() == [a, beside]
    world.finish(a)
    assert world.ready() == [left, beside]
    world.finish(left)
    assert set(map(world.key, world.ready())) == {world.key(top), world.key(beside)}


def test_a_node_whose_input_fails_while_it_waits_to_be_tried_again_is_blocked() -> None:
    (a,) = numbers(1)
    top = call(add, terms=[a])
    world = World(Plan({"top": top}), a)
    world.schedule.start(world.key(top))
    world.schedule.reopen([a])
    world.finish(a, "failed")
    assert world.schedule.again(world.key(top)) == [world.key(top)] and not world.schedule.unfinished()


def test_records_are_asked_for_level_by_level() -> None:
    nodes = numbers(4)
    top = call(add, terms=[call(add, terms=nodes[:2]), call(add, terms=nodes[2:])])
    asked: list[int] = []

    def done(keys: Sequence[str]) -> tuple[str, ...]:
        asked.append(len(keys))
        return ()

    Schedule(Plan({"top": top}), Fingerprints().key, done)
    assert asked == [1, 2, 4]


def steps_of(work: Callable[[], None]) -> int:
    """How many byte codes of Python a piece of work takes: the same on every machine, however busy."""
    count = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


def test_twice_the_trials_take_twice_the_work() -> None:
    """Each stage is asked for, begun and ended by itself, as in a run whose stages end one by one, and a person watches."""

    def run(n: int) -> Callable[[], None]:
        trials = sweep(number, over=[{"value": i} for i in range(n)])
        later = [call(add, terms=[trial]) for trial in trials]
        plan, key = Plan({"all": call(add, terms=later, at_least=1)}), Fingerprints().key

        def work() -> None:
            schedule, eta = Schedule(plan, key, lambda keys: ()), Eta()
            while schedule.unfinished():
                node = next(schedule.ready())
                schedule.start(key(node))
                schedule.finish(key(node), "done")
                eta.finished(node, 1.0)
                eta.remaining(schedule, {})

        return work

    run(10)()  # what is imported and remembered on first use
    few, many = steps_of(run(50)), steps_of(run(200))
    assert many < 4.4 * few
