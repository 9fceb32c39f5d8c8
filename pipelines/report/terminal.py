"""The same results on a terminal: a rich table where there is one, aligned plain lines in a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.commands.text import columns
from pipelines.report.advice import advice
from pipelines.report.headline import baseline_words, headline, signed
from pipelines.report.story_types import Row, Story

if TYPE_CHECKING:
    from rich.table import Table

ARROWS = {"better": "▲", "worse": "▼"}


def render(story: Story) -> Table:
    """The main models with their accuracy in distribution and on the mean of the shifts, and the paired differences to the baseline."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    head, rows = _cells(story)
    made = Table(
        title="\n".join(_title(story)), title_justify="left", title_style="bold", caption=_caption(story), caption_justify="left", box=SIMPLE_HEAD
    )
    for k, name in enumerate(head):
        made.add_column(name, justify="left" if k == 0 else "right")
    for model, cells in rows:
        colours = ["green" if "▲" in cell else "yellow" if "▼" in cell else "" for cell in cells]
        texts = [Text(cell, style=colour) for cell, colour in zip(cells, colours, strict=True)]
        made.add_row(*texts, style="bold" if model == story.winner.model else "")
    return made


def plain(story: Story) -> str:
    """The headline and the table as aligned lines of ASCII for a log."""
    head, rows = _cells(story)
    lines = [[_ascii(cell) for cell in line] for line in (head, *(cells for _, cells in rows))]
    return "\n".join([*map(_ascii, _title(story)), "", *columns(lines, right=range(1, len(head))), _ascii(_caption(story))])


def _title(story: Story) -> list[str]:
    """The headline, and the recommendation where one is wanted."""
    return [headline(story), *([advice(story)] if story.advises else [])]


def _ascii(text: str) -> str:
    for sign, word in (("▲", ">"), ("▼", "<"), ("\N{GREEK SMALL LETTER ALPHA}", "alpha")):
        text = text.replace(sign, word)
    return text.encode("ascii", "replace").decode()


def _caption(story: Story) -> str:
    return f"95 % intervals; against {baseline_words(story)} on the same examples: ▲ measurably better, ▼ measurably worse"


def _cells(story: Story) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Column names and, for each main model, its name and cells."""
    splits = [*([story.in_distribution] if story.in_distribution else []), *([story.mean] if story.shifts else [])]
    head = ["model"]
    for split in splits:
        name = f"mean of {len(story.shifts)} {story.noun}{'s' * (len(story.shifts) != 1)}" if split == story.mean else split
        head += [f"{name} %", "difference"]
    rows = []
    for model in story.models:
        if model.main:
            cells = [model.name]
            for split in splits:
                cells += _pair(story.row(model.name, split))
            rows.append((model.name, cells))
    return head, rows


def _pair(row: Row | None) -> list[str]:
    if row is None:
        return ["-", "-"]
    value = f"{100 * row['top1']:.1f} ({100 * row['low']:.1f}-{100 * row['high']:.1f})"
    if row.get("difference") is None:
        return [value, row.get("verdict") or ""]
    gap = f"{signed(row['difference'])} ({signed(row['difference_low'])} to {signed(row['difference_high'])})"
    return [value, f"{ARROWS.get(row['verdict'], ' ')} {gap}"]
