from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.figures.layers import arrange, stacks


def _row(name: str, function: str, *inputs: str, state: str = "ran") -> dict[str, Any]:
    return {"id": name, "label": name, "function": function, "state": state, "seconds": 2.0, "inputs": inputs}


SOUP = [
    _row("base", "pretrained", state="hit"),
    *(_row(f"t{i}", "train", "base") for i in range(8)),
    *(_row(f"h{i}", "predict", f"t{i}") for i in range(8)),
    _row("uniform", "uniform", *(f"t{i}" for i in range(8))),
    _row("greedy", "greedy", *(f"t{i}" for i in range(8)), *(f"h{i}" for i in range(8))),
    *(_row(f"p{m}{s}", "predict", m) for m in ("base", "uniform", "greedy") for s in range(3)),
    _row("table", "tabulate", *(f"p{m}{s}" for m in ("base", "uniform", "greedy") for s in range(3))),
]


def test_alike_siblings_are_stacked_and_predictions_of_different_models_are_not() -> None:
    found = {(s.column, s.label, s.count, s.seconds) for s in stacks(SOUP)}
    assert found == {
        (0, "base", 1, 2.0),
        (1, "train", 8, 16.0),
        (2, "predict", 8, 16.0),
        (3, "uniform", 1, 2.0),
        (3, "greedy", 1, 2.0),
        (4, "predict", 3, 6.0),
        (5, "table", 1, 2.0),
    }
    assert sum(s.label == "predict" and s.column == 4 for s in stacks(SOUP)) == 3


def test_unknown_inputs_are_left_out_and_cycles_are_refused() -> None:
    assert stacks([_row("a", "f", "elsewhere")])[0].inputs == ()
    with pytest.raises(ValueError, match="cycle"):
        stacks([_row("a", "f", "b"), _row("b", "f", "a")])


@st.composite
def _graphs(draw: st.DrawFn) -> list[dict[str, Any]]:
    n = draw(st.integers(1, 14))
    rows = []
    for i in range(n):
        inputs = draw(st.lists(st.integers(0, i - 1), unique=True, max_size=3)) if i else []
        rows.append(_row(f"n{i}", draw(st.sampled_from("fgh")), *(f"n{j}" for j in inputs)))
    return rows


@settings(max_examples=150, deadline=None)
@given(_graphs())
def test_lines_run_to_the_right_and_nothing_overlaps(rows: list[dict[str, Any]]) -> None:
    graph = stacks(rows)
    assert sum(s.count for s in graph) == len(rows)
    assert all(graph[source].column < stack.column for stack in graph for source in stack.inputs)
    heights = arrange(graph, 1.0, 0.3)
    size = {slot: 1.0 if graph[slot[0]].column == slot[1] else 0.3 for slot in heights}
    for column in {k for _, k in heights}:
        slots = sorted((slot for slot in heights if slot[1] == column), key=heights.__getitem__)
        for a, b in pairwise(slots):
            assert heights[b] - heights[a] >= (size[a] + size[b]) / 2 - 1e-9
