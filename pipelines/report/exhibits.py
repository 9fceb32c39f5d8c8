"""Further results as tables: on the terminal, on the page, and as LaTeX for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.commands.text import columns as aligned
from pipelines.report.numbers import knob
from pipelines.report.story_types import Row, Shown

MOST = 24  # rows of a table on the page beside its figure; of more it is folded
SUFFIXES = ("_low", "_high", "_se")


def columns(shown: Shown) -> list[str]:
    """The columns that stand alone; an interval and a standard error stand with their value."""
    names = list(dict.fromkeys(name for row in shown.rows for name in row))
    return [name for name in names if not any(name.endswith(end) and name.removesuffix(end) in names for end in SUFFIXES)]


def heads(shown: Shown) -> list[str]:
    """What stands above the columns."""
    return [f"{name.replace('_', ' ')} %" if name in shown.percent else name.replace("_", " ") for name in columns(shown)]


def cell(shown: Shown, row: Row, name: str) -> str:
    """A value as people read it, with its interval or its standard error."""
    value = row.get(name)
    if value is None:
        return "-"
    text = number(shown, name, value)
    if row.get(f"{name}_low") is not None:
        low, high = (number(shown, name, row[f"{name}{end}"]) for end in ("_low", "_high"))
        return f"{text} ({low} to {high})" if low.startswith("-") else f"{text} ({low}-{high})"
    if row.get(f"{name}_se") is not None:
        return f"{text} ± {number(shown, name, row[f'{name}_se'])}"
    return text


def number(shown: Shown, name: str, value: Any) -> str:
    """A share in percent, anything else in at most four digits."""
    if name in shown.percent and isinstance(value, int | float):
        return f"{100 * value:.1f}"
    return knob(value)


def cells(shown: Shown) -> list[list[str]]:
    """The rows of the table."""
    return [[cell(shown, row, name) for name in columns(shown)] for row in shown.rows]


def numeric(shown: Shown) -> list[int]:
    """The columns that hold a number in some row, by their places: they are aligned to the right."""
    return [k for k, name in enumerate(columns(shown)) if any(isinstance(row.get(name), int | float) for row in shown.rows)]


def plain(shown: Shown) -> str:
    """The title and the table as aligned lines of ASCII; of a long table its first rows."""
    lines = [heads(shown), *cells(shown)[: shown.terminal]]
    lines = [[text.replace("±", "+/-").encode("ascii", "replace").decode() for text in line] for line in lines]
    hidden = len(shown.rows) - shown.terminal
    more = [f"... and {hidden} more rows on the page"] if hidden > 0 else []
    return "\n".join([shown.title, *aligned(lines, numeric(shown)), *more])


def latex(shown: Shown) -> str:
    """The table in LaTeX, with the rules of booktabs."""
    body = [heads(shown), *cells(shown)]
    right = numeric(shown)
    lines = [" & ".join(_escaped(line)) + r" \\" for line in body]
    form = "".join("r" if k in right else "l" for k in range(len(body[0])))
    return "\n".join([rf"\begin{{tabular}}{{{form}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}", ""])


def _escaped(texts: Sequence[str]) -> list[str]:
    signs = {"\\": r"\textbackslash{}", "±": r"$\pm$", **{sign: f"\\{sign}" for sign in "&%$#_{}"}}
    return ["".join(signs.get(letter, letter) for letter in text) for text in texts]
