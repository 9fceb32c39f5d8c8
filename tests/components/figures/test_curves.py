"""The pictures of WiSE-FT: a panel a shift, and effective robustness of each model."""

from __future__ import annotations

import re

import pytest

from components.figures import style
from components.figures.curves import draw_curves
from components.figures.robustness import draw_robustness

ALPHAS = (0.0, 0.5, 1.0)
SPLITS = ("mean of shifts", "noise", "blur", "other")
ROWS = [
    {"split": s, "line": n, "alpha": a, "chosen": int(a == 0.5), "in_distribution": 0.5 + a / 3, "shifted": 0.4 + a / (5 + k), "predicted": 0.4}
    for s in SPLITS
    for k, n in enumerate(("whole", "head"))
    for a in ALPHAS
] + [
    {"split": s, "line": "baseline", "alpha": None, "chosen": None, "in_distribution": x, "shifted": x - 0.1, "predicted": x - 0.1}
    for s in SPLITS
    for x in (0.6, 0.8)
]


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_each_split_has_its_panel_and_the_legend_stands_once() -> None:
    drawn = style.svg(draw_curves(ROWS), "curves")
    assert drawn == style.svg(draw_curves(ROWS), "curves")
    found = texts(drawn)
    for words in (*SPLITS, "whole", "head", "zero-shot", "fine-tuned", "alpha 0.5", "held-out optimum", "baselines", "their line"):
        assert found.count(words) == 1, words
    assert found.count("0.5") == found.count("1") == len(SPLITS), "the alphas of the first line, in each panel"


@pytest.mark.parametrize("alphas", [(0.5,), (0.0, 1.0)])
def test_a_line_of_one_point_and_one_without_a_middle_are_drawn(alphas: tuple[float, ...]) -> None:
    rows = [row for row in ROWS if (row["alpha"] is None or row["alpha"] in alphas) and row["split"] in SPLITS[:2]]
    assert style.png(draw_curves(rows)).startswith(b"\x89PNG")


def test_robustness_names_each_model_once() -> None:
    rows = [
        {"split": s, "model": m, "rho": 0.01 * k, "rho_low": -0.01, "rho_high": 0.02 * k} for k, s in enumerate(SPLITS) for m in ("one", "another")
    ]
    drawn = style.svg(draw_robustness(rows), "robustness")
    assert [texts(drawn).count(words) for words in ("one", "another", "mean of shifts", "each shift")] == [1, 1, 1, 1]
