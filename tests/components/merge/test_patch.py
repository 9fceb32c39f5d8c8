"""PAINT's choices on scripted counts, and patches of a small tower: no head moves, ends are copies. Ilharco et al. 2022, arXiv:2208.05592."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.data import Corrupted, Digits, Sample, Scale, Split
from components.data.microworld.counted import CLASSES, Counted
from components.evaluate import outputs
from components.merge.frontier import accuracies, frontiers
from components.merge.held_out import Tally
from components.merge.patch import ALPHAS, CYCLES, ascent, balance, chosen, patch, patch_parallel
from components.merge.towers import towers
from components.models.heads import zero_shot
from components.objectives.classification import CrossEntropy
from components.train import train
from components.types import Local
from components.updates.sgd import AdamW
from components.weights import Checkpoint

DIGITS, SMALL, COUNTED = Sample(Digits(), 120), Corrupted(Sample(Digits(), 120), Scale()), Counted(n=80)


def surface(*counts: tuple[int, ...]) -> list[tuple[float, Tally]]:
    return [(i / 10, Tally(each)) for i, each in enumerate(counts)]


def test_the_largest_mean_of_both_means_wins() -> None:
    """Two supported sets of 10 and 1000 weigh alike, and together as much as the one that is patched."""
    tried = surface((10, 1000, 0), (9, 950, 30), (9, 900, 36), (2, 990, 100))
    sizes = [10, 1000, 100]
    assert [balance(tally, sizes, 2) for _, tally in tried] == [
        Fraction(1, 2), (Fraction(37, 40) + Fraction(3, 10)) / 2, (Fraction(9, 10) + Fraction(36, 100)) / 2, (Fraction(119, 200) + 1) / 2
    ]  # fmt: skip
    assert chosen(tried, sizes, 2) == 0.3


def test_ties_go_to_the_smaller_alpha_and_are_exact() -> None:
    """In floats 0.1 + 0.2 is more than 0.3 + 0."""
    assert chosen(surface((3, 0), (1, 2)), [10, 10], 1) == 0.0
    assert chosen(surface((3, 0), (2, 1), (1, 2), (0, 3)), [3, 3], 1) == 0.0
    assert chosen(surface((0, 0), (1, 3), (2, 2), (3, 1)), [3, 3], 1) == 0.1


def test_what_is_not_finite_is_passed_over() -> None:
    broken = [(0.0, Tally((1, 1))), (0.5, Tally((0, 0), "the weights are not finite"))]
    assert chosen(broken, [9, 9], 1) == 0.0
    with pytest.raises(ValueError, match="no coefficient gives a model with finite answers"):
        chosen(broken[1:], [9, 9], 1)
    with pytest.raises(ValueError, match="leave out the model that diverged"):
        ascent(lambda candidates: [None for _ in candidates], (0.0, 1.0), 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.lists(st.integers(0, 30), min_size=27, max_size=27))
def test_the_ascent_beats_every_common_coefficient_within_its_bound(count: int, values: list[int]) -> None:
    """No better than the best of the whole grid, and where the coefficients do not interact, the best."""
    alphas, asked = (0.0, 0.5, 1.0), list[tuple[float, ...]]()
    table = dict(zip(itertools.product(alphas, repeat=count), values, strict=False))

    def told(candidates: Sequence[tuple[float, ...]]) -> list[Fraction | None]:
        asked.extend(candidates)
        return [Fraction(table[each]) for each in candidates]

    found = ascent(told, alphas, count)
    assert max(table[(alpha,) * count] for alpha in alphas) <= table[found] <= max(table.values())
    assert len(asked) == len(set(asked)) <= len(alphas) * (1 + CYCLES * count)
    apart = {each: sum(values[3 * t + alphas.index(alpha)] for t, alpha in enumerate(each)) for each in table}
    table |= apart
    best = max(apart.values())
    assert table[ascent(told, alphas, count)] == best


@pytest.fixture
def some(zero: Any, base: Any, run: Local, tmp_path: Path) -> dict[str, Any]:
    """A base, two fine-tunes without heads, and the heads of two tasks."""
    fit: dict[str, Any] = {"update": AdamW(lr=3e-3, batch=16, warmup=2), "params": "visual.*", "steps": 12, "run": run}
    counting = zero_shot(base, CLASSES, ("a picture of {}",), run=run)
    made = {"base": zero, "small": train(zero, SMALL, CrossEntropy(), **fit), "counted": train(counting, COUNTED, CrossEntropy(), **fit)}
    for name, one in made.items():
        towers(one).save(f"{tmp_path}/{name}")
    return {**{name: Checkpoint(f"{tmp_path}/{name}") for name in made}, "digits": zero, "counting": counting}


def bits(model: Any) -> dict[str, bytes]:
    return {key: array.tobytes() for key, array in model.tensors()}


def test_ends_are_copies_and_no_alpha_touches_what_did_not_move(some: dict[str, Any], run: Local) -> None:
    sets = ([DIGITS], [some["digits"]], [COUNTED], [some["counting"]])
    for alphas, expected in (((0.0,), "base"), ((1.0,), "counted")):
        assert bits(patch(some["base"], some["counted"], *sets, alphas, run=run)) == bits(some[expected])
    half = patch(some["base"], some["counted"], *sets, (0.5,), run=run)
    changed = {key for key, value in bits(half).items() if value != bits(some["base"])[key]}
    assert changed and all(key.startswith("visual.") for key in changed)
    assert not [key for key, _ in half.tensors() if key.startswith("head.")]


def test_a_model_that_did_not_move_is_patched_with_0(some: dict[str, Any], run: Local) -> None:
    sets = ([DIGITS], [some["digits"]], [COUNTED], [some["counting"]])
    found = patch(some["base"], some["base"], *sets, run=run)
    assert found.facts["alpha"] == 0.0 and bits(found) == bits(some["base"])
    found = patch_parallel(some["base"], [some["base"], some["base"]], *sets, run=run)
    assert found.facts["alphas"] == [0.0, 0.0] and bits(found) == bits(some["base"])


def test_the_choice_is_what_its_facts_say_and_the_heads_stay(some: dict[str, Any], run: Local) -> None:
    before = [bits(some[name]) for name in ("digits", "counting")]
    supported, patching = ([DIGITS], [some["digits"]]), ([SMALL, COUNTED], [some["digits"], some["counting"]])
    one = patch(some["base"], some["counted"], *supported, *patching, run=run)
    facts = one.facts
    assert [entry["coefficient"] for entry in facts["trace"]] == list(ALPHAS) and facts["n"] == [120, 120, 80]
    assert facts["alpha"] == chosen([(e["coefficient"], Tally(tuple(e["correct"]))) for e in facts["trace"]], facts["n"], 1)
    own = [int(outputs(one, data, head=head, run=run).correct.sum()) for data, head in ((DIGITS, some["digits"]), (COUNTED, some["counting"]))]
    told = next(entry["correct"] for entry in facts["trace"] if entry["coefficient"] == facts["alpha"])
    assert own == [told[0], told[2]]

    several = patch_parallel(some["base"], [some["small"], some["counted"]], *supported, *patching, alphas=(0.0, 0.4, 0.8), run=run)
    tried = {tuple(e["alphas"]): balance(Tally(tuple(e["correct"])), several.facts["n"], 1) for e in several.facts["trace"]}
    assert tried[tuple(several.facts["alphas"])] == max(tried.values())
    assert bits(patch_parallel(some["base"], [some["counted"]], *supported, *patching, run=run)) == bits(one)
    assert [bits(some[name]) for name in ("digits", "counting")] == before


def test_frontiers_begin_and_end_where_the_models_are(some: dict[str, Any], run: Local) -> None:
    heads, test = [some["counting"], some["digits"]], [COUNTED, DIGITS]
    after = patch(some["base"], some["counted"], [Split(Digits(), 0.5, 0.6)], heads[1:], [Counted(n=50, seed=9)], heads[:1], (0.0, 0.3), run=run)
    table = frontiers(some["base"], [some["counted"]], [after], ["counting"], test, heads, (0.3, 0.3), run=run)
    assert [row["alpha"] for row in table.rows] == [0.0, 0.3, 1.0]
    assert [row["chosen"] for row in table.rows] == ["yes" if row["alpha"] == after.facts["alpha"] else "" for row in table.rows]
    known = accuracies([some["base"], some["counted"]], ["base", "counted"], ["counting", "digits"], test, heads, run=run)
    ends = {(row["model"], row["set"]): row["accuracy"] for row in known.rows}
    for row, name in ((table.rows[0], "base"), (table.rows[-1], "counted")):
        assert (row["patching"], row["supported"]) == (ends[name, "counting"], ends[name, "digits"])
        assert row["patching_low"] < row["patching"] < row["patching_high"]
    expected = outputs(some["counted"], COUNTED, head=some["counting"], run=run).correct.mean()
    assert ends["counted", "counting"] == pytest.approx(float(np.asarray(expected)))
    with pytest.raises(ValueError, match="one each, then the supported sets"):
        frontiers(some["base"], [some["counted"]], [after], ["counting"], test[:1], heads[:1], run=run)


def test_bad_input_is_named(some: dict[str, Any], run: Local) -> None:
    sets = ([DIGITS], [some["digits"]], [COUNTED], [some["counting"]])
    for alphas, told in (((), "alphas are none"), ((0.5, 1.5), "0.5, 1.5"), ((-0.1,), "-0.1")):
        with pytest.raises(ValueError, match=f"{told}: give one or more from 0, the base, to 1"):
            patch(some["base"], some["counted"], *sets, alphas, run=run)
    with pytest.raises(ValueError, match="at least one supported task"):
        patch(some["base"], some["counted"], [], [], [COUNTED], [some["counting"]], run=run)
    with pytest.raises(ValueError, match="parallel patch of no models"):
        patch_parallel(some["base"], [], *sets, run=run)
