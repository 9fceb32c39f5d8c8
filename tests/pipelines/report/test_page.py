import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.report import terminal
from pipelines.report.headline import headline
from pipelines.report.markup import typeset
from pipelines.report.page import render, write
from pipelines.report.story_types import Model, Split, Story, Trial, Winner

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Outline(HTMLParser):
    """Tags in order with their attributes; fails where elements are not properly nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attrs for name, attrs in self.tags if name == tag)


@pytest.fixture(scope="module")
def files(story: Story) -> dict[str, bytes]:
    return render(story)


def test_the_page_is_one_file_that_loads_nothing(files: dict[str, bytes]) -> None:
    page = files["index.html"].decode()
    outline = Outline(page)
    for tag, attrs in outline.tags:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert name not in attrs, (tag, attrs)
        for name in ("href", "xlink:href"):
            link = attrs.get(name)
            assert link is None or link.startswith("#") or link in files, link
    assert not list(outline.all("link")) and not list(outline.all("iframe")) and "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_every_picture_stands_beside_the_page_in_three_forms(files: dict[str, bytes]) -> None:
    names = {name.split("/")[1].split(".")[0] for name in files if name.startswith("figures/")}
    assert names == {"scatter", "shifts", "ingredients", "sweep", "cosines", "dag", "timeline"}
    for name in names:
        assert files[f"figures/{name}.png"][:4] == b"\x89PNG" and files[f"figures/{name}.svg"].startswith(b"<?xml")
        assert files[f"figures/{name}.csv"].count(b"\n") > 2


def test_the_page_can_be_read_without_seeing_it(files: dict[str, bytes]) -> None:
    outline = Outline(files["index.html"].decode())
    assert outline.tags[0] == ("html", {"lang": "en"})
    assert all(attrs.get("scope") in ("col", "row") for attrs in outline.all("th"))
    pictures = [i for i, (tag, _) in enumerate(outline.tags) if tag == "svg"]
    assert len(pictures) == 7
    assert all(outline.tags[i][1].get("role") == "img" and outline.tags[i + 1][0] == "title" for i in pictures)
    assert all(attrs.get("aria-label") for attrs in outline.all("table"))
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    references = {attrs["clip-path"] for _, attrs in outline.tags if "clip-path" in attrs}
    assert references and all(str(r)[5:-1] in ids for r in references)


def test_the_page_tells_the_whole_story(files: dict[str, bytes], story: Story) -> None:
    text = "".join(Outline(files["index.html"].decode()).text)
    assert typeset(headline(story)) in text
    for words in (
        story.command,
        story.winner.load_code,
        story.winner.digest,
        story.failures[0].message,
        "a tie, and accept = gt asks for more",
    ):
        assert words in text
    for words in (*story.digests.values(), *story.notes, *story.environment.values(), "cat/7.jpg: truncated file", "Tango", "Wilson"):
        assert words in text


def test_the_same_story_gives_the_same_bytes(files: dict[str, bytes], story: Story) -> None:
    assert render(story) == files


def test_hostile_names_are_text(story: Story) -> None:
    evil = "</td><script>alert(1)</script>\"'&"
    told = json.loads(json.dumps(asdict(story)))
    assert told["models"][0]["name"] == "zero-shot"
    table = tuple({**row, "model": evil if row["model"] == "zero-shot" else row["model"]} for row in story.table)
    models = (replace(story.models[0], name=evil), *story.models[1:])
    stages = tuple(replace(s, label=evil, function=evil) for s in story.stages[:3])
    changed = replace(story, table=table, models=models, notes=(evil,), command=evil, task=evil, stages=stages, environment={evil: evil})
    page = render(changed)["index.html"].decode()
    assert "<script>alert" not in page
    assert len(list(Outline(page).all("script"))) == 1


def test_a_story_with_only_a_table_still_makes_a_page(tmp_path: Path) -> None:
    row = {"model": "zero-shot", "split": "mine", "n": 5, "correct": 3, "top1": 0.6, "low": 0.2, "high": 0.9, "verdict": "baseline"}
    splits, models = (Split("mine", "reported", 5),), (Model("zero-shot", "zero_shot"),)
    story = Story("eval", "", "stockpot eval", "mine", "", (row,), splits, models, Winner("zero-shot"), "zero-shot")
    path = write(str(tmp_path / "a" / "b"), story)
    text = "".join(Outline(Path(path).read_text()).text)
    assert path.endswith("index.html") and "Zero-shot: 60.0" in text and "What went into the soup" not in text


def test_trials_that_all_failed_still_make_a_page(story: Story) -> None:
    lost = tuple(Trial(t.index, t.point, status="diverged") for t in story.trials)
    assert b"diverged" in render(replace(story, trials=lost, search=(), cosines=()))["index.html"]


def test_importing_the_report_loads_nothing_heavy() -> None:
    program = (
        "import sys; import pipelines.report.page, pipelines.report.sections, pipelines.report.terminal;"
        "heavy = {'matplotlib', 'torch', 'scipy', 'rich', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_numbers_are_set_with_their_signs() -> None:
    assert typeset("93.3 % (90.6-95.3), -1.3 to +2.3, fine-tune, rand-m9") == (
        "93.3\u202f% (90.6\u201395.3), \u22121.3 to +2.3, fine-tune, rand-m9"
    )


def test_the_terminal_shows_the_same_numbers(story: Story) -> None:
    from rich.console import Console

    console = Console(width=130, record=True, file=io.StringIO())
    console.print(terminal.render(story))
    shown, plain = console.export_text(), terminal.plain(story)
    for model in story.models:
        if model.main:
            for split in ("digits", "mean of shifts"):
                row = story.row(model.name, split)
                assert row is not None
                value = f"{100 * row['top1']:.1f} ({100 * row['low']:.1f}-{100 * row['high']:.1f})"
                assert value in shown and value in plain
    assert plain.isascii() and headline(story) in plain
    lines = plain.splitlines()[2:-1]
    assert len({line.find(")") for line in lines[1:]}) == 1
