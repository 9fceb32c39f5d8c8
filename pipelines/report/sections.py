"""The parts of the page, from top to bottom: each takes the story and returns markup, empty where the story has nothing to tell."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipelines.report import exhibits
from pipelines.report.advice import NOTE, advice, recommended
from pipelines.report.headline import baseline_words, headline, signed
from pipelines.report.markup import Html, code, details, element, html, inline, join, section, table, text, typeset
from pipelines.report.numbers import count, duration, knob, size
from pipelines.report.pictures import Picture
from pipelines.report.story_types import Model, Row, Shown, Story

ARROWS = {"better": ("▲", "measurably better than"), "worse": ("▼", "measurably worse than")}
USES = {"trained": "training", "selected": "choosing models", "reported": "this report alone"}


def opening(story: Story) -> Html:
    """The headline, what was run and when, and the numbers to remember."""
    facts = [story.task, story.created]
    if story.totals.trials:
        facts.append(count(story.totals.trials, "trial"))
    if story.totals.seconds is not None:
        facts.append(duration(story.totals.seconds))
    named = f"stockpot · {story.study}" + (f" · {story.preset}" if story.preset else "")
    top = [
        element("p", named, class_="eyebrow"),
        element("h1", _quiet(typeset(headline(story)))),
        element("p", _quiet(typeset(advice(story))), class_="advice") if story.advises else None,
        element("p", " · ".join(facts), class_="facts"),
    ]
    return element("header", *top, tiles(story), class_="top")


def _quiet(sentence: str) -> Html:
    """The sentence with what stands in brackets set back."""
    return inline(*(element("span", part) if part.startswith("(") else part for part in re.split(r"(\([^)]*\))", sentence)))


def tiles(story: Story) -> Html:
    """The winner in and out of distribution, and what the run took."""
    shown = []
    for split in (story.in_distribution, story.mean):
        row = story.row(story.winner.model, split) if split else None
        if row is not None:
            where = f"mean of {count(len(story.shifts), story.noun)}" if split == story.mean else f"{split}, {row['n']:,} examples"
            shown.append(_tile(where, f"{100 * row['top1']:.1f}", "%", _against(story, row)))
    totals = story.totals
    if totals.trials:
        failed = sum(trial.status != "finished" for trial in story.trials)
        lost = f"{totals.trials - failed} finished, {failed} failed" if failed else "all finished"
        shown.append(_tile("trials", str(totals.trials), "", f"{lost}, {count(totals.retries, 'restart')}"))
    if totals.seconds is not None:
        spent = (
            f"{duration(totals.cpu_seconds)} of CPU time, {size(totals.bytes)} kept"
            if totals.cpu_seconds is not None
            else f"{size(totals.bytes)} kept"
        )
        shown.append(_tile("time", duration(totals.seconds), "", spent))
    return element("ul", *shown, class_="tiles") if shown else Html("")


def _tile(what: str, value: str, unit: str, more: object) -> Html:
    number = element("div", value, element("small", f" {unit}") if unit else None, class_="value")
    return element("li", element("div", what, class_="what"), number, element("div", more, class_="more"))


def _against(story: Story, row: Row) -> object:
    if row.get("difference") is None:
        return typeset(f"{100 * row['low']:.1f}-{100 * row['high']:.1f}")
    sign = ARROWS.get(row["verdict"])
    change = typeset(f"{signed(row['difference'])} ({signed(row['difference_low'])} to {signed(row['difference_high'])})")
    return inline(
        element("span", f"{sign[0]} {change}" if sign else change, class_=row["verdict"] if sign else None),
        f" against {baseline_words(story)}",
    )


def figure(picture: Picture, inline: str) -> Html:
    """A picture with its caption and links to the files beside the page."""
    links = join(element("a", kind.upper(), href=f"figures/{picture.name}.{kind}") for kind in ("png", "svg", "csv"))
    drawing = element("div", Html(inline), class_=f"canvas {picture.name}", tabindex="0", role="group", aria_label=picture.title)
    return element("figure", drawing, element("figcaption", f"{picture.caption} ", links))


def results(story: Story) -> Html:
    """The table of models and splits, the folded rows, and every number of it."""
    main, folded = [m for m in story.models if m.main], [m for m in story.models if not m.main]
    lead = f"Top-1 accuracy in percent with its 95 % interval. Differences are to {baseline_words(story)}, on the same examples."
    parts: list[object] = [matrix(story, main, "models and splits"), element("p", _key(story), class_="legend")]
    curve, singles = [m for m in folded if m.alpha is not None], [m for m in folded if m.alpha is None]
    if singles:
        parts.append(details(count(len(singles), "individual model"), matrix(story, singles, "individual models and splits")))
    if curve:
        parts.append(details(count(len(curve), "interpolation"), matrix(story, curve, "interpolations and splits")))
    parts.append(details("every metric", every_metric(story)))
    return section("Results", lead, *parts, long=True)


def _key(story: Story) -> Html:
    arrows = [element("span", arrow, class_=verdict) for verdict, (arrow, _) in ARROWS.items()]
    against = f" measurably worse than {baseline_words(story)} (paired, 95 %); no arrow: no evidence of a difference. "
    bold = ": no model of the run is measurably better on this split. Among many comparisons, about one arrow in twenty comes by chance."
    return inline(arrows[0], " measurably better, ", arrows[1], against, element("b", "Bold"), bold)


def matrix(story: Story, models: list[Model], caption: str) -> Html:
    """Models down, splits across; the mean of the shifts stands before the shifts."""
    splits = [
        *([story.in_distribution] if story.in_distribution else []),
        *([story.mean] if story.shifts else []),
        *(s.name for s in story.shifts),
    ]
    head: list[object] = ["model"]
    for split in splits:
        rows = [row for row in story.table if row["split"] == split]
        head.append(element("th", split, element("small", f"n = {rows[0]['n']:,}") if rows else None, scope="col"))
    body = [[_name(story, model), *(_cell(story, model, split) for split in splits)] for model in models]
    marks = ["winner" if model.name == story.winner.model else "" for model in models]
    return table(head, body, caption, "matrix sortable", marks)


def _name(story: Story, model: Model) -> Html:
    held = {"handed over": bool(story.winner.uri) and model.name == story.winner.model, "baseline": model.name == story.baseline}
    roles = [word for word, holds in held.items() if holds]
    if len(model.members) > 1:
        roles.append(count(len(model.members), "ingredient"))
    return element("th", model.name, element("small", ", ".join(roles)) if roles else None, scope="row", data_v=model.name)


def _cell(story: Story, model: Model, split: str) -> Html:
    row = story.row(model.name, split)
    if row is None:
        return element("td", "-")
    sign = ARROWS.get(row["verdict"])
    arrow = element("span", f"{sign[0]} ", class_=row["verdict"], title=f"{sign[1]} {baseline_words(story)}") if sign else None
    note = None
    if row.get("difference") is not None:
        note = (
            f"{signed(row['difference'])} points ({signed(row['difference_low'])} to {signed(row['difference_high'])}), p = {row['p']:.2g}"
        )
    value = element("span", f"{100 * row['top1']:.1f}", class_="leads" if row.get("leads") else None)
    interval = element("small", typeset(f"{100 * row['low']:.1f}-{100 * row['high']:.1f}"))
    return element("td", arrow, value, interval, data_v=f"{row['top1']:.6f}", title=note)


def every_metric(story: Story) -> Html:
    """The table as it was computed, one line for each model and split."""
    head = ["model", "split", "n", "correct", "top-1", "95 %", "top-5", "mean per class", "calibration error", "difference", "95 %", "p"]
    body = []
    for row in story.table:
        shares = [None if row.get(k) is None else f"{100 * row[k]:.1f}" for k in ("top5", "mean_per_class", "calibration_error")]
        gap: list[str | None] = [None] * 3
        if row.get("difference") is not None:
            gap = [
                typeset(signed(row["difference"])),
                typeset(f"{signed(row['difference_low'])} to {signed(row['difference_high'])}"),
                f"{row['p']:.2g}",
            ]
        level = [f"{100 * row['top1']:.1f}", typeset(f"{100 * row['low']:.1f}-{100 * row['high']:.1f}")]
        body.append([row["model"], row["split"], f"{row['n']:,}", row["correct"], *level, *shares, *gap])
    return table(head, body, "every metric", "sortable")


def exhibit(told: Shown, picture: Html | None) -> Html:
    """A further result: its figure, and its table, folded where there is a figure and many rows."""
    body = [[element("td", typeset(text), class_="text") if k == 0 else typeset(text) for k, text in enumerate(row)] for row in exhibits.cells(told)]
    rows = table(exhibits.heads(told), body, told.title, "sortable")
    folded = details(count(len(body), "row"), rows) if picture and len(body) > exhibits.MOST else rows
    links = [*([] if picture else [("CSV", "csv")]), *([("LaTeX", "tex")] if told.latex else [])]
    files = element("p", *(element("a", f"{name} ", href=f"figures/{told.name}.{end}") for name, end in links), class_="legend")
    return section(told.title, None if picture else told.caption, picture, folded, *(element("p", note, class_="note") for note in told.notes), files)


def search(story: Story) -> Html:
    """Each candidate of the greedy search with the reason for its fate."""
    if not story.search:
        return Html("")
    head = [
        "candidate",
        element("th", "fate", class_="text", scope="col"),
        "held-out, alone",
        "soup with it",
        element("th", "why", class_="text", scope="col"),
    ]
    body = []
    for c in story.search:
        fate = element("span", "accepted" if c.accepted else "rejected", class_=f"tag {'yes' if c.accepted else 'no'}")
        soup = None if c.soup_correct is None else f"{c.soup_correct} of {c.n}"
        body.append([f"trial {c.trial}", element("td", fate, class_="text"), f"{c.correct} of {c.n}", soup, text(c.reason)])
    return table(head, body, "the greedy search")


def trials(story: Story) -> Html:
    """The trials with their knobs."""
    knobs = list(dict.fromkeys(path for t in story.trials for path in t.point))
    body = []
    for t in story.trials:
        state = element("span", t.status, class_=f"tag {'yes' if t.status == 'finished' else 'bad'}")
        held_out = "-" if t.correct is None or not t.n else f"{100 * t.correct / t.n:.1f}"
        body.append([f"trial {t.index}", state, held_out, *(knob(t.point.get(path, "")) for path in knobs), duration(t.seconds)])
    return details("every trial", table(["trial", "state", "held-out %", *knobs, "time"], body, "the trials", "sortable"))


def use(story: Story) -> Html:
    """How to load the model, and how to make it again."""
    winner = story.winner
    parts: list[object] = []
    if winner.load_code:
        parts += [element("h3", "Load the model"), code(winner.load_code, "the code")]
    parts += [element("h3", "Make it again"), code(story.command, "the command")]
    facts = [("model", winner.model), ("where", winner.uri), ("digest", winner.digest)]
    if story.advises and (one := recommended(story)):
        facts += [("recommended", one.name), ("where that is", one.uri)]
    parts.append(pairs({name: value for name, value in facts if value}))
    return section("Take it with you", "One model of the size and speed of a single fine-tune." if _one_model(story) else "", *parts)


def _one_model(story: Story) -> bool:
    return bool(story.winner.uri)


def glossary(story: Story) -> Html:
    """What each split is and what it was used for, and where the examples come from."""
    head = [
        "split",
        "examples",
        element("th", "used for", class_="text", scope="col"),
        element("th", "what it is", class_="text", scope="col"),
    ]
    body = []
    for s in story.splits:
        away = ", out of distribution" if s.shift and story.noun == "shift" else ""
        body.append([s.name, f"{s.n:,}", text(USES[s.meaning] + away), text(s.note)])
    parts: list[object] = [table(head, body, "the splits")]
    for card in story.data:
        skipped = f"{card.name}: {count(card.n, 'example')}, {len(card.skipped)} skipped"
        parts.append(
            details(skipped, element("ul", *(element("li", line) for line in card.skipped)))
            if card.skipped
            else element("p", skipped, class_="legend")
        )
    return section("The data", "A number is reported only on examples that neither trained nor selected any model in it.", *parts)


def failures(story: Story) -> Html:
    """What went wrong, why, and the remedy."""
    if not story.failures:
        return Html("")
    columns = [element("th", name, class_="text", scope="col") for name in ("what happened", "remedy")]
    body = [[f.stage, element("td", element("span", f.cause, class_="tag bad")), text(f.message), text(f.remedy)] for f in story.failures]
    return table(["stage", "cause", *columns], body, "failures")


def methods(story: Story) -> Html:
    """How the numbers were computed, and what to keep in mind."""
    names = {
        "one accuracy": "Wilson's score interval, 95 %, over examples",
        "two models": "the same examples, paired: Tango's score interval (1998); p is McNemar's mid-p",
        story.mean: f"each {story.noun} weighs the same; intervals are clustered by example, since an altered copy is not a new image",
        "a verdict": "better or worse where the paired 95 % interval excludes 0, else no evidence; not corrected for many comparisons",
        "calibration error": "expected calibration error over 15 bins of confidence",
    }
    notes = [*story.notes, *([NOTE] if story.advises else [])]
    return section("How to read it", "", *(element("p", note, class_="note") for note in notes), pairs(names))


def records(story: Story) -> Html:
    """Digests and environment, folded."""
    parts: list[object] = []
    if story.digests:
        body = [[name, element("td", digest, class_="text mono")] for name, digest in story.digests.items()]
        parts.append(
            details(
                count(len(story.digests), "digest"),
                table(["artefact", element("th", "sha256", class_="text", scope="col")], body, "digests"),
            )
        )
    if story.environment:
        parts.append(details("environment", pairs(story.environment)))
    totals = {"trials": story.totals.trials, "retries": story.totals.retries, "cache hits": story.totals.hits}
    totals |= {f"failed: {cause}": n for cause, n in story.totals.failures.items()}
    spent = {"CPU time": duration(story.totals.cpu_seconds), "stored": size(story.totals.bytes)}
    parts.append(details("totals", pairs({**{k: str(v) for k, v in totals.items()}, **spent})))
    return section("The record", "What identifies every artefact of this run.", *parts)


def pairs(facts: Mapping[str, object]) -> Html:
    """Names and values."""
    return element("dl", *(part for name, value in facts.items() for part in (element("dt", name), element("dd", html(value)))))
