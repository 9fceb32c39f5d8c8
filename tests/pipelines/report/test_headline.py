from dataclasses import replace
from typing import Any

import pytest

from components.analysis.table import MEAN
from pipelines.report.headline import headline, signed
from pipelines.report.story_types import Model, Split, Story, Winner

GAPS = {"better": (0.031, 0.019, 0.043), "worse": (-0.03, -0.05, -0.01), "no evidence": (0.004, -0.006, 0.013)}


def _row(model: str, split: str, verdict: str | None) -> dict[str, Any]:
    gap = GAPS.get(verdict or "", (None, None, None))
    keys = dict(zip(("difference", "difference_low", "difference_high"), gap, strict=True))
    return {"model": model, "split": split, "n": 450, "top1": 0.969, "low": 0.952, "high": 0.98, **keys, "verdict": verdict or "baseline"}


def _story(here: str | None, away: str | None, shifts: int = 8) -> Story:
    table = [_row("best single", "digits", None), _row("greedy soup", "digits", here)]
    if shifts:
        table += [_row("best single", MEAN, None), _row("greedy soup", MEAN, away)]
    splits = (
        Split("held-out", "selected", 450),
        Split("digits", "reported", 450),
        *(Split(f"s{k}", "reported", 450, True) for k in range(shifts)),
    )
    models = (Model("best single", "best", members=(5,)), Model("greedy soup", "greedy", members=(5, 0)), Model("zero-shot", "zero_shot"))
    return Story("soup", "tiny", "stockpot run soup", "digits", "", tuple(table), splits, models, Winner("greedy soup"), "best single")


SAME = "as accurate as the best single fine-tune as far as 450 examples can tell (+0.4 points, -0.6 to +1.3)"
MORE = "more accurate than the best single fine-tune (+3.1 points, +1.9 to +4.3)"
LESS = "less accurate than the best single fine-tune (-3.0 points, -5.0 to -1.0)"
ROBUST = "more robust on the mean of 8 shifts (+3.1, +1.9 to +4.3)"
FRAGILE = "less robust on the mean of 8 shifts (-3.0, -5.0 to -1.0)"
UNKNOWN = "no measurable difference on the mean of 8 shifts (+0.4, -0.6 to +1.3)"


@pytest.mark.parametrize(
    ("here", "away", "words"),
    [
        ("better", "better", f"{MORE} and {ROBUST}"),
        ("better", "worse", f"{MORE} but {FRAGILE}"),
        ("better", "no evidence", f"{MORE} and {UNKNOWN}"),
        ("worse", "better", f"{LESS} but {ROBUST}"),
        ("worse", "worse", f"{LESS} and {FRAGILE}"),
        ("worse", "no evidence", f"{LESS} and {UNKNOWN}"),
        ("no evidence", "better", f"{SAME} and {ROBUST}"),
        ("no evidence", "worse", f"{SAME} but {FRAGILE}"),
        ("no evidence", "no evidence", f"{SAME} and {UNKNOWN}"),
    ],
)
def test_each_axis_has_three_wordings(here: str, away: str, words: str) -> None:
    assert headline(_story(here, away)) == f"Greedy soup: 96.9 % on digits (95.2-98.0), {words}."


def test_one_shift_is_named_and_none_is_not_mentioned() -> None:
    assert headline(_story("no evidence", "better", 1)).endswith("and more robust on the shift s0 (+3.1, +1.9 to +4.3).")
    assert headline(_story("better", None, 0)) == f"Greedy soup: 96.9 % on digits (95.2-98.0), {MORE}."


def test_a_soup_of_one_says_so() -> None:
    story = _story("no evidence", "no evidence")
    story = replace(story, models=(story.models[0], replace(story.models[1], members=(5,))))
    assert headline(story).startswith("Greedy soup kept one ingredient, trial 5: 96.9 % on digits (95.2-98.0), as accurate as")


def test_the_baseline_itself_is_compared_with_nothing() -> None:
    story = replace(_story("better", "better"), winner=Winner("best single"))
    assert headline(story) == "Best single: 96.9 % on digits (95.2-98.0) and 96.9 % on the mean of 8 shifts (95.2-98.0)."


def test_only_shifts_were_reported() -> None:
    story = _story("better", "better")
    story = replace(story, table=story.table[2:], splits=story.splits[2:])
    expected = "Greedy soup: 96.9 % on the mean of 8 shifts (95.2-98.0), more robust than the best single fine-tune on the mean of 8 shifts"
    assert headline(story) == f"{expected} (+3.1 points, +1.9 to +4.3)."


def test_nothing_was_reported() -> None:
    assert headline(replace(_story("better", "better"), table=())) == "Greedy soup: nothing was reported."


def test_a_small_difference_keeps_its_sign() -> None:
    assert [signed(v) for v in (0.0, 0.0004, -0.0004, -0.000001, 0.0125)] == ["0.0", "+0.04", "-0.04", "0.0", "+1.2"]


def test_a_winner_that_failed_is_told_and_not_looked_up() -> None:
    story = replace(_story("better", "better"), winner=Winner("learned soup"))
    assert headline(story) == "Learned soup failed and is not in the table: no model is handed over."
