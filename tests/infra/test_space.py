"""Search spaces: a drawn value depends on (seed, trial, path) and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.space import Choice, Distribution, Integers, LogUniform, Sometimes, Uniform, draw, grid, place

SPACE: dict[str, Distribution] = {
    "update.lr": LogUniform(1e-6, 1e-3),
    "scale": Uniform(-2.0, 3.0),
    "update.seed": Integers(0, 6),
    "mixup": Sometimes(0.5, 0.1, 0.9),
    "kind": Choice(("a", "b", "c")),
}


@given(seed=st.integers(0, 2**40), trials=st.integers(1, 20), more=st.integers(0, 20), kept=st.sets(st.sampled_from(sorted(SPACE)), min_size=1))
def test_draws_are_functions_of_seed_trial_and_path(seed: int, trials: int, more: int, kept: set[str]) -> None:
    few = draw({path: SPACE[path] for path in reversed(sorted(kept))}, trials, seed=seed)
    many = draw(SPACE, trials + more, seed=seed)
    assert few == [{path: point[path] for path in few[0]} for point in many[:trials]]


def test_draws_are_the_same_on_every_machine() -> None:
    assert draw(SPACE, 2, seed=0) == [
        {"update.lr": 5.883e-06, "scale": -1.258, "update.seed": 6, "mixup": 0.0, "kind": "b"},
        {"update.lr": 0.0006299, "scale": -0.5775, "update.seed": 1, "mixup": 0.2418, "kind": "b"},
    ]


@given(st.floats(0, 1, exclude_max=True))
def test_values_stay_in_their_ranges_and_have_four_digits(u: float) -> None:
    assert 1e-6 <= SPACE["update.lr"].at(u) <= 1e-3
    assert -2.0 <= SPACE["scale"].at(u) <= 3.0
    assert SPACE["update.seed"].at(u) in range(7)
    assert SPACE["mixup"].at(u) == 0.0 or 0.1 <= SPACE["mixup"].at(u) <= 0.9
    assert SPACE["kind"].at(u) in ("a", "b", "c")
    for path in ("update.lr", "scale", "mixup"):
        value = SPACE[path].at(u)
        assert float(f"{value:.3e}") == value


def test_every_integer_and_choice_is_reached_and_half_of_sometimes_is_zero() -> None:
    points = draw(SPACE, 700, seed=1)
    assert {point["update.seed"] for point in points} == set(range(7))
    assert {point["kind"] for point in points} == {"a", "b", "c"}
    assert 0.4 < sum(point["mixup"] == 0.0 for point in points) / 700 < 0.6
    assert 0.4 < sum(point["update.lr"] < 10**-4.5 for point in points) / 700 < 0.6  # the median of the logarithm


def test_impossible_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="both ends must be positive"):
        LogUniform(0.0, 1.0)
    with pytest.raises(ValueError, match="in order"):
        LogUniform(1e-2, 1e-3)
    with pytest.raises(ValueError, match="needs at least one"):
        draw(SPACE, 0, seed=0)


def test_a_grid_varies_its_last_path_fastest() -> None:
    assert grid({"a": [1, 2], "b": ["x", "y"]}) == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]


@dataclass(frozen=True)
class Views:
    magnitude: int = 1


@dataclass(frozen=True)
class Objective:
    views: Views = Views()
    smoothing: float = 0.0
    extra: list[int] = field(default_factory=list)


def test_a_point_rebuilds_frozen_arguments_at_any_depth() -> None:
    before = {"objective": Objective(), "init": "base"}
    after = place(before, {"objective.views.magnitude": 7, "objective.smoothing": 0.1, "init": "other"})
    assert after == {"objective": Objective(Views(7), 0.1), "init": "other"}
    assert before == {"objective": Objective(), "init": "base"}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("objektive.smoothing", "the call has no argument 'objektive'; it has objective, init"),
        ("objective.smothing", "Objective has no field 'smothing'; it has views, smoothing, extra"),
        ("objective.views.magnitude.x", "int has no field 'x'"),
        ("init.rate", "str has no field 'rate'"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(path: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        place({"objective": Objective(), "init": "base"}, {path: 1})
    assert str(caught.value) == f"{path}: {reason}"
