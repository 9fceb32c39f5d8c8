"""The page in headless Chromium: it renders, complains about nothing, asks the network for nothing, and fits every screen."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.report.page import write
from pipelines.report.story_types import Story

pytestmark = pytest.mark.browser

BOUNDS = """[...document.querySelectorAll('section, .tiles li, h1')].every((e) => {
  const box = e.getBoundingClientRect(); return box.width > 40 && box.left >= 0 && box.right <= innerWidth + 1; })"""
BIG = "[...document.querySelectorAll('.canvas svg')].every((e) => e.getBoundingClientRect().height > 60)"


@pytest.fixture(scope="module")
def page(story: Story, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(str(tmp_path_factory.mktemp("page")), story)


def _colours(png: bytes) -> tuple[int, tuple[int, int, int]]:
    """How many colours the picture has, and the one in its corner."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return len(image.getcolors(1 << 24) or []), image.getpixel((2, 2))  # type: ignore[return-value]


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_the_page_renders(chromium: Any, page: str, width: int, dark: bool) -> None:
    seen = chromium.visit(page, width=width, dark=dark, ask=("document.documentElement.scrollWidth", BOUNDS, BIG))
    assert seen.complaints == []
    assert seen.requests == [f"file://{page}"]
    assert seen.answers == [width, True, True]
    colours, corner = _colours(seen.png)
    assert colours > 500
    assert (sum(corner) < 120) == dark


def test_the_page_fits_on_paper(chromium: Any, page: str) -> None:
    seen = chromium.visit(page, width=794, media="print", ask=("document.documentElement.scrollWidth",))
    assert seen.answers[0] <= 794


def test_a_click_sorts_the_table(chromium: Any, page: str) -> None:
    column = """[...document.querySelector('table.matrix').tBodies[0].rows].map((r) => parseFloat(r.children[2].dataset.v))"""
    click = "document.querySelectorAll('table.matrix thead button')[2].click()"
    values, _, down, _, up = chromium.visit(page, ask=(column, click, column, click, column)).answers
    assert down == sorted(values, reverse=True) and up == sorted(values) and down != up


def test_the_page_needs_no_script(page: str, story: Story) -> None:
    """Copy buttons are hidden until a script shows them; the table has its order and its numbers without one."""
    text = Path(page).read_text()
    assert '<button type="button" hidden' in text and "<script src" not in text
