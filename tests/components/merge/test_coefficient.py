"""How task arithmetic chooses its coefficient: on scripted counts, and on models that answer real digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.data import Split
from components.data.digits import Digits
from components.data.split import Sample
from components.evaluate import outputs, predict
from components.merge.addition import addition, most
from components.merge.analogy import chosen_analogy
from components.merge.arithmetic import arithmetic
from components.merge.coefficient import GRID, Tried, finite
from components.merge.held_out import Tally
from components.merge.negation import least, negation
from components.merge.towers import towers
from components.types import Local
from components.weights import Checkpoint

TARGET, CONTROL = Sample(Split(Digits(), 0.0, 0.3), 40), Sample(Split(Digits(), 0.3, 0.6), 60)


def scripted(*counts: tuple[int, int] | None) -> Tried:
    """(target, control) at 0.0, 0.1, 0.2 ...; None is not finite."""
    return [(round(i / 10, 1), Tally(each) if each else Tally((0, 0), f"nan at {i}")) for i, each in enumerate(counts)]


def moved(zero: Any, seed: int, size: float = 0.02) -> Checkpoint:
    """The model with an image tower that moved at random, frozen elsewhere."""
    random = np.random.default_rng(seed)
    named = dict(zero.tensors())
    for key, array in named.items():
        if key.startswith("visual.") and array.dtype == np.float32:
            named[key] = array + np.float32(size) * random.standard_normal(array.shape, np.float32)
    return Checkpoint.of(named, zero.spec, zero.extras)


def test_the_grid_is_every_twentieth() -> None:
    assert len(GRID) == 21 and [str(each) for each in GRID[:4]] == ["0.0", "0.05", "0.1", "0.15"] and GRID[-1] == 1.0


def test_negation_minimises_the_target_among_those_that_keep_the_control() -> None:
    assert least(scripted((50, 100), (30, 99), (20, 95), (5, 94)), 100, 0.95) == 0.2  # 95 of 100 is kept, 94 is not
    assert least(scripted((50, 100), (20, 96), (20, 99), (20, 100)), 100, 0.95) == 0.1  # of equals the smallest
    assert least(scripted((50, 100), (60, 100)), 100, 0.95) == 0.0  # what only harms is not done
    assert least(scripted((50, 100), None, (20, 95)), 100, 0.95) == 0.2
    assert least(scripted((50, 19), (1, 18)), 19, 0.95) == 0.0  # 0.95 * 19 is 18.05: as exact fractions, not as rounded counts
    assert least(scripted((50, 20), (1, 19)), 20, 0.95) == 0.1  # and 0.95 * 20 is 19, though 0.95 is no float
    assert least(scripted((3, 0), (1, 0)), 0, 0.95) == 0.1


def test_negation_says_why_nothing_is_feasible() -> None:
    with pytest.raises(ValueError, match=r"no coefficient keeps 0.95 of the control's 100 .*\(the most that is kept is 94\): try smaller coeff"):
        least(scripted((50, 94), (30, 90)), 100, 0.95)
    with pytest.raises(ValueError, match=r"no coefficient gives a model with finite answers .*nan at 0"):
        least(scripted(None, None), 100, 0.95)


def test_addition_maximises_the_mean_of_exact_normalised_counts() -> None:
    assert most(scripted((10, 10), (40, 50), (90, 9)), [100, 50]) == 0.1  # 1.4 of 2: raw counts would say 0.2
    assert most(scripted((1, 2), (2, 1), (3, 0)), [3, 3]) == 0.0  # a third each way: in floats 1/3 + 2/3 and 3/3 may differ
    assert most(scripted((1, 1), None, (1, 2)), [3, 3]) == 0.2
    with pytest.raises(ValueError, match="no correct answer"):
        most(scripted((1, 1)), [3, 0])
    with pytest.raises(ValueError, match="finite"):
        finite(scripted(None))


def test_negation_on_models_is_the_choice_from_their_own_counts(zero: Any, run: Local) -> None:
    base, tuned, tried = towers(zero), towers(moved(zero, 1)), (0.0, 0.5, 1.0, 3.0)
    for name, one in {"base": base, "tuned": tuned}.items():
        one.save(f"{run.dir}/{name}")
    base, tuned = (Checkpoint(f"{run.dir}/{name}") for name in ("base", "tuned"))
    found = negation(base, tuned, [TARGET, CONTROL], [zero, zero], tried, keep=0.5, run=run)
    counts = {}
    for coefficient in tried:
        answers = [outputs(arithmetic(base, [tuned], -coefficient), data, head=zero, run=run) for data in (TARGET, CONTROL)]
        counts[coefficient] = [int(each.correct.sum()) for each in answers]
    assert found.facts["trace"] == [{"coefficient": each, "correct": counts[each]} for each in tried]
    assert found.facts["before"] == counts[0.0]
    kept = [each for each in tried if 2 * counts[each][1] >= counts[0.0][1]]
    assert found.facts["coefficient"] == min(kept, key=lambda each: (counts[each][0], each))
    assert [(one.key, weight) for one, weight in found.terms] == [
        (one.key, weight) for one, weight in arithmetic(base, [tuned], -found.facts["coefficient"]).terms
    ]
    with pytest.raises(ValueError, match="two held-out sets"):
        negation(base, tuned, [TARGET], [zero], run=run)


def test_addition_and_analogy_choose_what_answers_best_and_pass_over_what_diverged(zero: Any, run: Local, tmp_path: Path) -> None:
    base = towers(zero)
    base.save(str(tmp_path / "base"))
    for i in range(3):
        towers(moved(zero, i)).save(str(tmp_path / str(i)))
    start, *models = (Checkpoint(str(tmp_path / name)) for name in ("base", "0", "1", "2"))
    singles = [predict(one, data, head=zero, run=run) for one, data in zip(models, (TARGET, CONTROL), strict=False)]
    tried = (0.0, 0.5, 1.0, 1e30)  # the last overflows
    found = addition(start, models[:2], [TARGET, CONTROL], [zero, zero], singles, tried, run=run)
    *told, last = found.facts["trace"]
    assert "error" in last and last["coefficient"] == 1e30
    assert found.facts["singles"] == [int(one.correct.sum()) for one in singles]
    score = {each["coefficient"]: sum(n / own for n, own in zip(each["correct"], found.facts["singles"], strict=True)) for each in told}
    assert score[found.facts["coefficient"]] == max(score.values())
    same = chosen_analogy([models[0], models[0], models[2]], TARGET, zero, tried, run=run)
    assert same.facts["coefficient"] == 0.0 and [one.key for one, weight in same.terms if weight.terms] == [models[2].key]
    with pytest.raises(ValueError, match="give three"):
        chosen_analogy(models[:2], TARGET, zero, run=run)
    with pytest.raises(ValueError, match="one for each"):
        addition(start, models[:2], [TARGET, CONTROL], [zero, zero], singles[:1], run=run)
