"""Further results of a study: one table that reads the same on a terminal, on the page and in LaTeX; other nouns than shifts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from components.figures.cosines import draw_cosines
from pipelines.report import exhibits, terminal
from pipelines.report.headline import headline
from pipelines.report.page import render
from pipelines.report.story_types import Shown, Split, Story

ROWS = (
    {"method": "ERM & co", "coloured": 0.5917, "coloured_se": 0.0041, "runs": 5, "gain": 0.0123, "gain_low": -0.004, "gain_high": 0.031},
    {"method": "soup_1", "coloured": 0.6, "coloured_se": None, "runs": 5, "gain": None, "gain_low": None, "gain_high": None},
)
SHOWN = Shown("domains", "Domain by domain", "Mean and standard error.", ROWS, ("A note.",), ("coloured", "gain"), None, True)


def test_a_column_stands_with_its_interval_or_its_error() -> None:
    assert exhibits.heads(SHOWN) == ["method", "coloured %", "runs", "gain %"]
    assert exhibits.cells(SHOWN) == [["ERM & co", "59.2 ± 0.4", "5", "1.2 (-0.4 to 3.1)"], ["soup_1", "60.0", "5", "-"]]


def test_the_terminal_shows_aligned_ascii_and_the_beginning_of_a_long_table() -> None:
    lines = exhibits.plain(SHOWN).splitlines()
    assert lines[0] == "Domain by domain" and lines[1].split() == ["method", "coloured", "%", "runs", "gain", "%"]
    assert lines[2].index("59.2 +/- 0.4") + len("59.2 +/- 0.4") == lines[3].index("60.0") + len("60.0")
    long = replace(SHOWN, rows=ROWS * 20)
    assert exhibits.plain(long).splitlines()[-1] == "... and 16 more rows on the page"
    assert exhibits.plain(replace(long, terminal=4)).splitlines()[5:] == [lines[3], "... and 36 more rows on the page"]


def test_latex_has_booktabs_and_escapes() -> None:
    assert exhibits.latex(SHOWN).splitlines() == [
        r"\begin{tabular}{lrrr}", r"\toprule", r"method & coloured \% & runs & gain \% \\", r"\midrule",
        r"ERM \& co & 59.2 $\pm$ 0.4 & 5 & 1.2 (-0.4 to 3.1) \\", r"soup\_1 & 60.0 & 5 & - \\", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip


def test_the_page_holds_the_table_the_figure_and_their_files(story: Story) -> None:
    pairs = tuple({"first": a, "second": b, "cosine": 1.0 if a == b else 0.25} for a in "ab" for b in "ab")
    drawn = Shown("angles", "Angles of tasks", "A caption.", pairs, draw=draw_cosines)
    files = render(replace(story, exhibits=(SHOWN, drawn)))
    page = files["index.html"].decode()
    assert "Domain by domain" in page and "59.2 ± 0.4" in page and "A note." in page and "Angles of tasks" in page
    assert files["figures/domains.tex"].decode() == exhibits.latex(SHOWN) and files["figures/domains.csv"].startswith(b"method,coloured,")
    assert files["figures/angles.png"][:4] == b"\x89PNG" and files["figures/angles.csv"].count(b"\n") == 5


@pytest.mark.parametrize("noun", ["domain", "task"])
def test_a_mean_over_other_things_than_shifts_is_called_by_its_name(story: Story, noun: str) -> None:
    table = tuple({**row, "split": f"mean of {noun}s"} if row["split"] == "mean of shifts" else row for row in story.table)
    splits = tuple(replace(split, shift=split.meaning == "reported") for split in story.splits)
    told = replace(story, table=table, splits=splits, noun=noun)  # type: ignore[arg-type]
    count = sum(split.shift for split in splits)
    assert f"on the mean of {count} {noun}s" in headline(told) and "robust" not in headline(told)
    assert f"mean of {count} {noun}s %" in terminal.plain(told) and "shift" not in terminal.plain(told)


def test_a_study_without_one_winner_names_no_model(story: Story) -> None:
    assert isinstance(story.splits[0], Split)
    page = render(replace(story, winner=replace(story.winner, uri="", load_code="")))["index.html"].decode()
    assert "size and speed of a single" not in page
