"""From a story to its pictures: the rows behind each, and what a reader should see in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

from pipelines.report.story_types import Model, Story

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
MOST = 9  # models that a picture of splits can tell apart


@dataclass(frozen=True)
class Picture:
    """A figure, the rows it was drawn from, a title, and a caption that also serves readers who cannot see it."""

    name: str
    title: str
    caption: str
    figure: Figure
    rows: Rows


def pictures(story: Story) -> dict[str, Picture]:
    """Every picture for which the story has the data, by name."""
    drawn = (scatter(story), shifts(story), ingredients(story), sweep(story), cosines(story), dag(story), timeline(story))
    return {picture.name: picture for picture in drawn if picture is not None}


def baseline_line(story: Story) -> tuple[float, float] | None:
    """The line that effective robustness is measured from: through the individual fine-tunes, where they are spread enough to carry one."""
    from components.analysis.robustness import fit

    singles = [model for model in story.models if model.kind == "single"]
    points = [p for model in singles if (p := _point(story, model)) is not None]
    n = min((split.n for split in story.splits if split.meaning == "reported"), default=1)
    xs = [p["x"] for p in points]
    odds = [log(x / (1 - x)) for x in (min(max(x, 1 / (2 * n)), 1 - 1 / (2 * n)) for x in xs)]
    if len(points) < 4 or max(odds) - min(odds) < 0.2:
        return None
    return tuple(fit(xs, [p["y"] for p in points], n))  # type: ignore[return-value]


def scatter(story: Story) -> Picture | None:
    """Accuracy in distribution against the mean over shifts, one mark for each model of the table."""
    from components.figures.scatter import draw_scatter

    curve = {model.alpha for model in story.models if model.alpha is not None and not model.main}
    shown = [m for m in story.models if not (m.main and m.alpha in curve)]
    rows = [p for model in shown if (p := _point(story, model)) is not None]
    if len(rows) < 2:
        return None
    line = baseline_line(story)
    caption = (
        f"Right is more accurate on {story.in_distribution}, up is more robust: mean of {len(story.shifts)} {story.noun}s. Logit-scaled axes."
    )
    if curve:
        caption += " The curve runs from zero-shot (\N{GREEK SMALL LETTER ALPHA} = 0) to fine-tuned (1)."
    if line:
        caption += " The dashed line is fitted through the individual fine-tunes of this run: what lies above it has effective robustness."
    figure = draw_scatter(rows, line, f"accuracy on {story.in_distribution} (%)")
    return Picture("scatter", "Accuracy and robustness", caption, figure, rows)


def _point(story: Story, model: Model) -> dict[str, Any] | None:
    here = story.row(model.name, story.in_distribution) if story.in_distribution else None
    away = story.row(model.name, story.mean)
    if here is None or away is None:
        return None
    ends = {"x_low": here["low"], "x_high": here["high"], "y_low": away["low"], "y_high": away["high"]}
    return {"name": model.name, "kind": model.kind, "alpha": model.alpha, "x": here["top1"], "y": away["top1"], **ends}


def shifts(story: Story) -> Picture | None:
    """The zero-shot model, the best single, the winner and WiSE-FT on each split; of other nouns than shifts the first models that are main."""
    from components.figures.shifts import draw_shifts

    wanted = [
        m
        for m in story.models
        if m.main and (m.kind in ("zero_shot", "best", "greedy", "wise") or m.name in (story.winner.model, story.baseline) or story.noun != "shift")
    ][:MOST]
    order = [*([story.in_distribution] if story.in_distribution else []), story.mean, *(split.name for split in story.shifts)]
    rows = [
        {"split": split, "model": model.name, "kind": model.kind, "value": row["top1"], "low": row["low"], "high": row["high"]}
        for split in order
        for model in wanted
        if (row := story.row(model.name, split)) is not None
    ]
    if not rows:
        return None
    caption = (
        "Top-1 accuracy on each reported split; the bars are 95 % intervals. "
        "Overlapping bars do not mean equal models: the table has the paired comparison."
    )
    return Picture("shifts", "Split by split", caption, draw_shifts(rows), rows)


def ingredients(story: Story) -> Picture | None:
    """The candidates of the greedy search in their order."""
    from components.figures.ingredients import draw_ingredients

    if not story.search:
        return None
    rows = [
        {
            "trial": c.trial,
            "accepted": c.accepted,
            "value": c.correct / c.n,
            "soup": None if c.soup_correct is None else c.soup_correct / c.n,
        }
        for c in story.search
    ]
    taken = sum(c.accepted for c in story.search)
    caption = (
        f"{taken} of {len(story.search)} candidates went in. The soup's line is on the data that selected it: it is a trace, not a result."
    )
    return Picture("ingredients", "What went into the soup", caption, draw_ingredients(rows, story.search[0].n), rows)


def sweep(story: Story) -> Picture | None:
    """Every trial through its knobs to its held-out accuracy; of a search also those that are no ingredients."""
    from components.figures.sweep import draw_sweep

    rows = [dict(row) for row in story.searched]
    rows += [
        {"trial": t.index, **{path: _plain(v) for path, v in t.point.items()}, "value": t.correct / t.n if t.correct is not None and t.n else None}
        for t in story.trials
        if t.point or not story.searched
    ]
    if len(rows) < 2 or not any(row.keys() - {"trial", "value", "stopped"} for row in rows):
        return None
    dashed = "stopped early, or failed" if story.searched else "did not finish"
    caption = f"{len(rows)} trials; the bluer the line, the better on held-out data. Dashed: {dashed}. Knobs that never vary are left out."
    return Picture("sweep", "The sweep", caption, draw_sweep(rows), rows)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else str(value)


def cosines(story: Story) -> Picture | None:
    """Cosines between the moves of the trials that finished."""
    from components.figures.cosines import draw_cosines

    if len(story.cosines) < 2:
        return None
    names = [f"trial {t.index}" for t in story.trials if t.status == "finished"]
    if len(names) != len(story.cosines):
        names = [str(i) for i in range(len(story.cosines))]
    rows = [{"first": a, "second": b, "cosine": story.cosines[i][j]} for i, a in enumerate(names) for j, b in enumerate(names)]
    caption = "Cosine between the trials' moves from their common start. Near 1: the same model twice; near 0: unrelated moves."
    return Picture("cosines", "How alike the ingredients are", caption, draw_cosines(rows), rows)


def dag(story: Story) -> Picture | None:
    """The stages of the run and how each came to be."""
    from components.figures.dag import draw_dag

    if not story.stages:
        return None
    rows = [
        {"id": s.id, "label": s.label, "function": s.function, "state": s.state, "seconds": s.seconds, "inputs": s.inputs}
        for s in story.stages
    ]
    caption = f"{len(rows)} stages; stages of one kind are stacked and their time is summed."
    figure = draw_dag(rows)
    return Picture(
        "dag",
        "How it was made",
        caption,
        figure,
        [{**row, "inputs": " ".join(s.inputs)} for row, s in zip(rows, story.stages, strict=True)],
    )


def timeline(story: Story) -> Picture | None:
    """When and where the stages ran that were not cache hits."""
    from components.figures.timeline import draw_timeline

    rows = [
        {
            "function": s.function,
            "label": s.label,
            "worker": s.worker or s.host,
            "started": s.started,
            "seconds": s.seconds,
            "attempts": s.attempts,
            "state": s.state,
        }
        for s in story.stages
        if s.started is not None and s.seconds is not None
    ]
    if not rows:
        return None
    return Picture("timeline", "When it ran", "A bar for each stage; ↻ marks stages that were started again.", draw_timeline(rows), rows)
