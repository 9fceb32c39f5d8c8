"""Relatives: the differences between a call and its nearest record, and what records say of its cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.store import Record, Store
from infra.store.relatives import Difference, Relatives, differences

LEAF = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b"])
CANONICAL = st.recursive(
    LEAF | st.builds(lambda name: {"node": name}, st.sampled_from(["n1", "n2"])),
    lambda inner: st.lists(inner, max_size=3)
    | st.builds(lambda name, fields: {"is": f"{name}@1", **fields}, st.sampled_from(["A", "B"]), st.dictionaries(st.sampled_from("xyz"), inner)),
)


@given(CANONICAL, CANONICAL)
def test_values_differ_where_they_are_not_equal_and_nowhere_else(one: Any, other: Any) -> None:
    assert list(differences(one, one)) == []
    assert bool(list(differences(one, other))) == (one != other)


def test_a_difference_is_told_by_its_path() -> None:
    old = {"is": 0, "update": {"is": "AdamW@1", "lr": 0.1}, "init": {"node": "a"}, "data": {"is": "Folder@1", "content": "x"}}
    new = {"is": 0, "update": {"is": "AdamW@1", "lr": 0.2, "seed": 3}, "init": {"node": "b"}, "data": {"is": "Digits@1"}}
    assert list(differences(old, new)) == [
        Difference("update.lr", 0.1, 0.2),
        Difference("update.seed", "", 3),
        Difference("init", "a", "b", input=True),
        Difference("data", "Folder", "Digits"),
    ]


def record(name: str, arguments: dict[str, Any], *, inputs: tuple[str, ...] = (), seconds: float = 1.0, size: int = 0) -> Record:
    result = {"type": "components.x:X", "attempt": "1", "files": [{"name": "f", "size": size, "digest": "d"}]}
    return Record(name, "components.x:f", name, 1, arguments, dict.fromkeys(inputs, "d"), result, seconds=seconds)


def store_of(folder: Path, *records: Record) -> Relatives:
    store = Store(str(folder))
    for each in records:
        store.publish(each)
    return Relatives(store)


def test_the_nearest_is_the_one_that_differs_least(tmp_path: Path) -> None:
    relatives = store_of(tmp_path, record("f-1", {"a": 1, "b": 1}), record("f-2", {"a": 1, "b": 2}), record("g-1", {"a": 2, "b": 2}))
    found = relatives.nearest("f", {"a": 2, "b": 2})
    assert found is not None and found[0].key == "f-2" and found[1] == [Difference("a", 1, 2)]
    assert relatives.nearest("h", {}) is None


def test_costs_are_those_of_models_from_the_same_root_by_step(tmp_path: Path) -> None:
    small, large = record("base-1", {}), record("base-2", {"name": "large"})
    trained = [record(f"f-{i}", {"steps": 10}, inputs=("base-1",), seconds=seconds, size=100) for i, seconds in enumerate((1.0, 2.0, 30.0))]
    relatives = store_of(tmp_path, small, large, *trained, record("f-9", {"steps": 10}, inputs=("base-2",), seconds=500, size=9000))
    roots = frozenset({"base-1"})
    assert relatives.seconds("f", roots, 10) == 2.0 and relatives.seconds("f", roots, 40) == 8.0
    assert relatives.size("f", roots) == 100 and relatives.size("f", frozenset({"base-2"})) == 9000
    assert relatives.seconds("f", frozenset({"base-3"})) is None


def test_what_a_start_takes_is_told_apart_by_two_numbers_of_steps(tmp_path: Path) -> None:
    """3 s to start and 0.5 s a step; where more steps took no longer, a start is not told apart."""
    trained = [record(f"f-{i}", {"steps": steps}, inputs=("base-1",), seconds=3 + steps / 2) for i, steps in enumerate((4, 20, 20))]
    noise = [record(f"g-{i}", {"steps": steps}, inputs=("base-1",), seconds=2.0) for i, steps in enumerate((4, 20))]
    relatives, roots = store_of(tmp_path, record("base-1", {}), *trained, *noise), frozenset({"base-1"})
    assert relatives.seconds("f", roots, 1000) == 503.0 and relatives.seconds("f", roots, 4) == 5.0
    assert relatives.seconds("g", roots, 40) == 12.0  # the median of 2 s for 4 steps and 2 s for 20, by step


def test_a_damaged_record_is_passed_over(tmp_path: Path) -> None:
    relatives = store_of(tmp_path, record("f-1", {"a": 1}))
    (tmp_path / "f-2").mkdir()
    (tmp_path / "f-2" / "record.json").write_text("{")
    assert [each.key for each in relatives.of("f")] == ["f-1"]
