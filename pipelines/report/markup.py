"""The small words of HTML that the page is written with; every text is escaped here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is markup already; everything else is escaped when it is placed."""

    __slots__ = ()


def html(value: object) -> Html:
    """Markup as it is, None as nothing, anything else escaped."""
    return value if isinstance(value, Html) else Html("" if value is None else escape(str(value)))


def element(name: str, *children: object, **attributes: object) -> Html:
    """`<name ...>children</name>`; `class_` is `class`, `data_v` is `data-v`, and an attribute that is None is left out."""
    shown = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(str(v))}"' for key, v in attributes.items() if v is not None)
    return Html(f"<{name}{shown}>{''.join(html(child) for child in children)}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """The parts one after the other."""
    return Html("\n".join(html(part) for part in parts))


def inline(*parts: object) -> Html:
    """The parts in one line of text, with nothing between them."""
    return Html("".join(html(part) for part in parts))


def section(title: str, lead: object, *children: object, long: bool = False) -> Html:
    """A card with a heading and one line that says what it shows."""
    return element("section", element("h2", title), element("p", lead) if lead else None, *children, class_="long" if long else None)


def table(head: Sequence[object], rows: Iterable[Sequence[object]], caption: str, classes: str = "", marks: Sequence[str] = ()) -> Html:
    """A table that scrolls sideways on its own; `head` and cells are texts, or markup of whole `th` and `td`; `marks` are rows' classes."""
    top = element("tr", *(cell if _is_cell(cell) else element("th", cell, scope="col") for cell in head))
    body = []
    for i, row in enumerate(rows):
        first, *rest = row
        cells = [first if _is_cell(first) else element("th", first, scope="row"), *(c if _is_cell(c) else element("td", c) for c in rest)]
        body.append(element("tr", *cells, class_=(marks[i] or None) if i < len(marks) else None))
    inner = element("table", element("thead", top), element("tbody", *body), aria_label=caption, class_=classes or None)
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def text(value: object) -> Html:
    """A left-aligned cell that may wrap."""
    return element("td", value, class_="text")


def code(source: str, what: str) -> Html:
    """A block of code with a button that copies it; the button appears only where scripts run."""
    button = Html(f'<button type="button" hidden aria-label="copy {escape(what)}">copy</button>')
    return element("div", element("pre", element("code", source)), button, class_="code")


def details(summary: str, *children: object) -> Html:
    """What is folded away until asked for."""
    return element("details", element("summary", summary), *children)


def typeset(sentence: str) -> str:
    """Hyphens of numbers as what they mean: a minus before a number, a dash between two, a thin space before the percent sign."""
    sentence = re.sub(r"(?<=\d)-(?=\d)", "\u2013", sentence)
    return re.sub(r"(?<![\w.])-(?=\d)", "\u2212", sentence).replace(" %", "\u202f%")


def _is_cell(value: object) -> bool:
    return isinstance(value, Html) and value.startswith(("<td", "<th"))
