"""The page that a run leaves behind: one file that opens anywhere, and its figures as PNG, SVG and CSV beside it."""

from __future__ import annotations

import os
from importlib.resources import files

from pipelines.report.markup import Html, element, join, section
from pipelines.report.story_types import Story

THEME = {"#1f2733": "ink", "#667085": "faint", "#e4e7ec": "grid", "#ffffff": "card"}  # of the figures: what dark mode replaces


def write(folder: str, story: Story) -> str:
    """Write the page and its figures into the local folder and return the path of `index.html`; the same story gives the same bytes."""
    os.makedirs(os.path.join(folder, "figures"), exist_ok=True)
    for name, content in render(story).items():
        with open(os.path.join(folder, *name.split("/")), "wb") as file:
            file.write(content)
    return os.path.join(folder, "index.html")


def render(story: Story) -> dict[str, bytes]:
    """The files of the page by relative name: `index.html`, `table.csv`, `figures/*.png|svg|csv`. The page needs none of the others."""
    from components.figures import style
    from pipelines.report import exhibits, pictures, sections
    from pipelines.report.pictures import Picture

    drawn = pictures.pictures(story)
    written: dict[str, bytes] = {}
    shown: dict[str, Html] = {}
    for told in story.exhibits:
        if told.draw is not None and told.rows:
            drawn[told.name] = Picture(told.name, told.title, told.caption, told.draw(told.rows), told.rows)
        else:
            written[f"figures/{told.name}.csv"] = style.table(told.rows).encode()
        if told.latex:
            written[f"figures/{told.name}.tex"] = exhibits.latex(told).encode()
    for name, picture in drawn.items():
        svg = style.svg(picture.figure, name)
        written[f"figures/{name}.png"] = style.png(picture.figure)
        written[f"figures/{name}.svg"] = svg.encode()
        written[f"figures/{name}.csv"] = style.table(picture.rows).encode()
        shown[name] = sections.figure(picture, inline(svg, picture.title, picture.caption))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><style>{_asset("page.css")}</style>'
    title = element("title", f"{story.study} {story.preset}".strip() + " - stockpot")
    body = join([sections.opening(story), element("main", *_cards(story, shown, {n: p.title for n, p in drawn.items()})), _footer(story)])
    script = f"<script>{_asset('page.js')}</script>"
    html = f'<!doctype html>\n<html lang="en">\n<head>{head}{title}</head>\n<body>\n{body}\n{script}\n</body>\n</html>\n'
    return {"index.html": html.encode(), "table.csv": style.table(story.table).encode(), **written}


def _cards(story: Story, shown: dict[str, Html], titles: dict[str, str]) -> list[Html]:
    """The sections in reading order; a pair of pictures shares a line where the window is wide."""
    from pipelines.report import sections

    def card(name: str, *more: object) -> Html | None:
        return section(titles[name], "", shown[name], *more) if name in shown else None

    made = [shown[name] for name in ("dag", "timeline") if name in shown]
    failed = sections.failures(story)
    cards = [
        element("div", card("scatter"), card("shifts"), class_="pair"),
        sections.results(story),
        *(sections.exhibit(told, shown.get(told.name)) for told in story.exhibits),
        card("ingredients", sections.search(story)),
        card("sweep", sections.trials(story)),
        card("cosines"),
        sections.use(story),
        section("How it was made", "", *made, failed) if made or failed else None,
        sections.glossary(story),
        sections.methods(story),
        sections.records(story),
    ]
    return [c for c in cards if c]


def inline(svg: str, title: str, caption: str) -> str:
    """The SVG as part of a page: no prologue, named for screen readers, and its four quiet colours taken from the page's theme."""
    svg = svg[svg.index("<svg") :]
    for colour, name in THEME.items():
        svg = svg.replace(colour, f"var(--{name})")
    opened, rest = svg.split(">", 1)
    label = element("title", f"{title}. {caption}")
    return f'{opened} role="img">{label}{rest}'


def _footer(story: Story) -> Html:
    return element("footer", f"Made by stockpot with “{story.command}”, {story.created}. This page is one file and loads nothing.")


def _asset(name: str) -> str:
    return files("pipelines.report").joinpath(name).read_text("utf-8")
