"""The sentence that a run is remembered by, worded by the evidence and by nothing else."""

from __future__ import annotations

from typing import Any

from pipelines.report.story_types import Model, Row, Story

ACCURACY = {"better": "more accurate than", "worse": "less accurate than"}
ROBUSTNESS = {"better": "more robust", "worse": "less robust"}


def headline(story: Story) -> str:
    """Which model won, how accurate it is, and how it compares with the baseline in distribution and on the mean of the shifts.

    `Greedy soup: 96.9 % on digits (94.8-98.1), as accurate as the best single fine-tune as far as 450 examples can tell (+0.4 points, -0.6
    to +1.3) and more robust on the mean of 8 shifts (+3.1, +1.9 to +4.3).` Where an interval holds 0, no difference is claimed.
    """
    if all(model.name != story.winner.model for model in story.models):
        return f"{story.winner.model[:1].upper()}{story.winner.model[1:]} failed and is not in the table: no model is handed over."
    model = model_named(story, story.winner.model)
    name = model.name[:1].upper() + model.name[1:]
    here = story.row(model.name, story.in_distribution) if story.in_distribution else None
    away = story.row(model.name, story.mean)
    if here is not None:
        value = level(here, here["split"])
    elif away is not None:
        value = level(away, _shifts(story))
    else:
        return f"{name}: nothing was reported."
    opening = f"{name}: {value}"
    if len(model.members) == 1 and model.kind in ("greedy", "uniform", "greedy_ensemble"):
        opening = f"{name} kept one ingredient, trial {model.members[0]}: {value}"
    if model.name == story.baseline or (_missing(here) and _missing(away)):
        return opening + (f" and {level(away, _shifts(story))}." if here and away else ".")
    return f"{opening}, {_comparison(story, here, away)}."


def _comparison(story: Story, here: Row | None, away: Row | None) -> str:
    """The clauses after the first number: accuracy, then robustness; `but` where the second takes back what the first gave."""
    than, clauses, verdicts = baseline_words(story), [], []
    if here is not None and not _missing(here):
        verdicts.append(here["verdict"])
        same = f"as accurate as {than} as far as {here['n']} examples can tell"
        clauses.append(f"{ACCURACY[verdicts[0]]} {than}" if verdicts[0] in ACCURACY else same)
        clauses[0] += f" {gap(here, ' points')}"
    if away is not None and not _missing(away):
        verdicts.append(away["verdict"])
        known = ROBUSTNESS if story.noun == "shift" else {verdict: words.removesuffix(" than") for verdict, words in ACCURACY.items()}
        words = known.get(away["verdict"], "no measurable difference")
        if not clauses:  # the baseline and the unit are named once
            words += f" {'than' if away['verdict'] in known else 'to'} {than}"
        clauses.append(f"{words} on {_shifts(story)} {gap(away, '' if clauses else ' points')}")
    turns = verdicts in (["better", "worse"], ["worse", "better"], ["no evidence", "worse"])
    return (" but " if turns else " and ").join(clauses)


def baseline_words(story: Story) -> str:
    """How the baseline is called in a sentence."""
    kind = model_named(story, story.baseline).kind
    return {"best": "the best single fine-tune", "zero_shot": "the zero-shot model"}.get(kind, story.baseline)


def model_named(story: Story, name: str) -> Model:
    """The model of that name; ValueError where the story has none."""
    for model in story.models:
        if model.name == name:
            return model
    raise ValueError(f"the story has no model {name!r}: its models are {', '.join(m.name for m in story.models)}")


def level(row: Row, where: str) -> str:
    """`96.9 % on digits (94.8-98.1)`: an accuracy and its interval in percent."""
    return f"{100 * row['top1']:.1f} % on {where} ({100 * row['low']:.1f}-{100 * row['high']:.1f})"


def gap(row: Row, unit: str = "") -> str:
    """`(+0.4 points, -0.6 to +1.3)`: the paired difference to the baseline in percentage points, with its interval."""
    return f"({signed(row['difference'])}{unit}, {signed(row['difference_low'])} to {signed(row['difference_high'])})"


def signed(share: float) -> str:
    """A difference of shares as signed percentage points, with a second decimal where one would hide the sign of a small difference."""
    return next((text for digits in (1, 2) if float(text := f"{100 * share:+.{digits}f}")), "0.0")


def _missing(row: Any) -> bool:
    return row is None or row.get("difference") is None


def _shifts(story: Story) -> str:
    count = len(story.shifts)
    return f"the mean of {count} {story.noun}s" if count != 1 else f"the {story.noun} {story.shifts[0].name}"
