"""The recommendation: by its rule, from the table, and honest about what it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipelines.report import terminal
from pipelines.report.advice import NOTE, advice
from pipelines.report.page import render
from pipelines.report.story_types import Model, Split, Story, Winner


def row(model: str, split: str, top1: float, verdict: str, gap: float = 0.0, leads: bool = True) -> dict[str, Any]:
    own = verdict == "baseline"
    ends = {"difference": None, "difference_low": None, "difference_high": None}
    ends = ends if own else {"difference": gap, "difference_low": gap - 0.01, "difference_high": gap + 0.01}
    shares = {"top1": top1, "low": top1 - 0.02, "high": top1 + 0.02, "n": 500, "correct": None, "leads": leads}
    return {"model": model, "split": split, **shares, **ends, "p": 0.5, "verdict": verdict}


def told(*models: tuple[str, str, float, str, float], here: float = -0.009) -> Story:
    """A story of (name, uri, mean of shifts, verdict on the task, difference under shift); `here` is the difference on the task."""
    rows, known = [], []
    for name, uri, away, verdict, gap in models:
        known.append(Model(name, "best" if name == "single" else "other", uri=uri))
        rows.append(row(name, "digits", 0.9, verdict, here))
        under = "baseline" if verdict == "baseline" else "better" if gap > 0.01 else "no evidence"
        rows.append(row(name, "mean of shifts", away, under, gap, away > 0.6))
    splits = (Split("digits", "reported", 500), Split("noise", "reported", 500, shift=True))
    return Story("compare", "", "stockpot run compare", "digits", "", tuple(rows), splits, tuple(known), Winner("single"), "single", advises=True)


SINGLE = ("single", "./single", 0.55, "baseline", 0.0)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([("soup", "./soup", 0.62, "no evidence", 0.07)], "Take soup: of 2 that give one model"),
        ([("soup", "./soup", 0.62, "no evidence", 0.07)], "62.0 % (+7.0 points against the best single fine-tune, +6.0 to +8.0, measurably)"),
        ([("forgets", "./a", 0.70, "worse", 0.15), ("soup", "./soup", 0.62, "no evidence", 0.07)], "Take soup"),
        ([("ensemble", "", 0.70, "better", 0.15), ("soup", "./soup", 0.62, "no evidence", 0.07)], "Take soup"),
        ([("luck", "./a", 0.552, "no evidence", 0.002)], "No method that gives one model is measurably better than the best single fine-tune here"),
        ([("a", "./a", 0.63, "better", 0.08), ("b", "./b", 0.62, "better", 0.07)], "Not measurably behind: b."),
        ([("soup", "./soup", 0.50, "no evidence", -0.05)], "Take the best single fine-tune: no method that gives one model was better"),
        ([("a", "./a", 0.62, "better", 0.07), ("b", "./b", 0.62, "better", 0.07)], "Take a: of 3"),
    ],
)
def test_the_rule(others: list[tuple[str, str, float, str, float]], words: str) -> None:
    assert words in advice(told(SINGLE, *others))


@pytest.mark.parametrize(
    ("here", "words"),
    [
        (-0.009, "measurably), for -0.9 (-1.9 to +0.1) on digits."),
        (0.004, "measurably), and +0.4 (-0.6 to +1.4) on digits."),
        (0.0, "measurably), and 0.0 (-1.0 to +1.0) on digits."),
        (-0.045, "one model was better on the mean of 1 shifts."),  # at the lower end -5.5: too much may be lost
    ],
)
def test_it_says_what_the_method_costs_in_distribution(here: float, words: str) -> None:
    assert advice(told(SINGLE, ("soup", "./soup", 0.62, "no evidence", 0.07), here=here)).endswith(words)


def test_it_stands_with_the_headline_and_says_that_it_saw_the_report() -> None:
    story = told(SINGLE, ("soup", "./soup", 0.62, "no evidence", 0.07))
    assert terminal.plain(story).splitlines()[1] == advice(story)
    page = render(story)["index.html"].decode()
    assert NOTE in page and "Take soup" in page
    assert "Take soup" not in render(replace(story, advises=False))["index.html"].decode()


def test_without_a_shift_there_is_none() -> None:
    story = told(SINGLE)
    alone = replace(story, table=story.table[:1], splits=story.splits[:1])
    assert advice(alone).startswith("No recommendation")
