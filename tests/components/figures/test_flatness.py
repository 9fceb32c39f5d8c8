"""The picture of soup and ensemble along a line."""

from __future__ import annotations

from components.figures import style
from components.figures.flatness import draw_flatness


def test_it_says_its_words_and_is_the_same_again() -> None:
    rows = [
        {"alpha": a / 4, "measured": 0.01, "measured_se": None if a == 1 else 0.002, "predicted": 0.01 * a, "flatness": -0.01, "confidence": 0.02}
        for a in (1, 2, 3)
    ]
    text = style.svg(draw_flatness(rows), "flatness")
    assert text == style.svg(draw_flatness(rows), "flatness")
    assert all(words in text for words in ("measured", "predicted", "flatness", "confidence"))
