"""The recommendation of a comparison, in one sentence, read off its table by a rule that is told with it."""

from __future__ import annotations

from pipelines.report.headline import baseline_words, signed
from pipelines.report.story_types import Model, Row, Story

NOTE = "The recommendation is read off the reported numbers, so that those of the model it names are a little too good: measure it anew."


MARGIN = 0.05  # how much less accurate in distribution a method may be, at the lower end of its interval


def able(story: Story) -> list[Model]:
    """Those that give one model and are not measurably less accurate than the baseline, nor likely so by more than MARGIN."""
    found = [m for m in story.models if m.main and m.uri and _row(story, m, story.mean) is not None]
    rows = [(m, _row(story, m, story.in_distribution)) for m in found]
    return [m for m, row in rows if row is not None and row.get("verdict") != "worse" and (row.get("difference_low") or 0.0) >= -MARGIN]


def recommended(story: Story) -> Model | None:
    """Of those the one of the best mean; ties go to the earlier row. None where there is none."""
    return max(able(story), key=lambda m: story.row(m.name, story.mean)["top1"], default=None)  # type: ignore[index]


def advice(story: Story) -> str:
    """Which method to take, why, what it costs, and which are as good as far as can be told."""
    here, chosen, among = story.in_distribution, recommended(story), able(story)
    if chosen is None or here is None:
        return f"No recommendation: too few examples to know a model as accurate as {baseline_words(story)} to within {100 * MARGIN:g} points."
    row, than = story.row(chosen.name, story.mean), baseline_words(story)
    assert row is not None
    if chosen.name == story.baseline:
        return f"Take {than}: no method that gives one model was better on the mean of {len(story.shifts)} {story.noun}s."
    gap = f"{signed(row['difference'])} points against {than}, {signed(row['difference_low'])} to {signed(row['difference_high'])}"
    price = _price(_row(story, chosen, here))
    if row["verdict"] != "better":
        best = f"{chosen.name} has the best mean of {len(story.shifts)} {story.noun}s, {100 * row['top1']:.1f} % ({gap}){price}"
        return f"No method that gives one model is measurably better than {than} here: {best}."
    others = [m.name for m in among if m is not chosen and (near := story.row(m.name, story.mean)) is not None and near.get("leads")]
    beside = f" Not measurably behind: {', '.join(others)}." if others else ""
    of = f"of {len(among)} that give one model and are not measurably less accurate on {here} than {than}"
    best = f"it has the best mean of {len(story.shifts)} {story.noun}s, {100 * row['top1']:.1f} % ({gap}, measurably)"
    return f"Take {chosen.name}: {of}, {best}{price}.{beside}"


def _price(row: Row | None) -> str:
    """What it costs or gives in distribution: `, for -0.9 (-2.3 to +0.3) on digits`."""
    if row is None or row.get("difference") is None:
        return ""
    word = "for" if row["difference"] < 0 else "and"
    return f", {word} {signed(row['difference'])} ({signed(row['difference_low'])} to {signed(row['difference_high'])}) on {row['split']}"


def _row(story: Story, model: Model, split: str | None) -> Row | None:
    return story.row(model.name, split) if split else None
