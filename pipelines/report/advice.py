"""The recommendation of a comparison, in one sentence, read off its table by a rule that is told with it."""

from __future__ import annotations

from pipelines.report.headline import baseline_words, signed
from pipelines.report.story_types import Model, Row, Story

NOTE = "The recommendation is read off the reported numbers, so that those of the model it names are a little too good: measure it anew."


def advice(story: Story) -> str:
    """Which method to take: of those that give one model and are not measurably less accurate than the baseline, the one of the best mean.

    Ties go to the earlier row. Where nothing qualifies but the baseline itself, that is what the sentence says.
    """
    here = story.in_distribution
    able = [m for m in story.models if m.main and m.uri and (row := _row(story, m, here)) is not None and row.get("verdict") != "worse"]
    able = [m for m in able if _row(story, m, story.mean) is not None]
    if not able or here is None:
        return "No recommendation: no model of one fine-tune's cost was reported in and out of distribution."
    chosen = max(able, key=lambda m: story.row(m.name, story.mean)["top1"])  # type: ignore[index]
    row = story.row(chosen.name, story.mean)
    assert row is not None
    than = baseline_words(story)
    if chosen.name == story.baseline:
        return f"Take {than}: no method that gives one model was better on the mean of {len(story.shifts)} {story.noun}s."
    sure = {"better": "measurably", "worse": "measurably"}.get(row["verdict"], "but not measurably")
    gap = f"{signed(row['difference'])} points against {than}, {signed(row['difference_low'])} to {signed(row['difference_high'])}, {sure}"
    others = [m.name for m in able if m is not chosen and (near := story.row(m.name, story.mean)) is not None and near.get("leads")]
    beside = f" Not measurably behind: {', '.join(others)}." if others else ""
    among = f"of {len(able)} that give one model and are not measurably less accurate on {here} than {than}"
    best = f"it has the best mean of {len(story.shifts)} {story.noun}s, {100 * row['top1']:.1f} % ({gap})"
    return f"Take {chosen.name}: {among}, {best}{_price(_row(story, chosen, here))}.{beside}"


def _price(row: Row | None) -> str:
    """What it costs or gives in distribution: `, for -0.9 (-2.3 to +0.3) on digits`."""
    if row is None or row.get("difference") is None:
        return ""
    word = "for" if row["difference"] < 0 else "and"
    return f", {word} {signed(row['difference'])} ({signed(row['difference_low'])} to {signed(row['difference_high'])}) on {row['split']}"


def _row(story: Story, model: Model, split: str | None) -> Row | None:
    return story.row(model.name, split) if split else None
