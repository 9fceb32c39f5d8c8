import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from components.figures import style
from components.figures.cosines import draw_cosines
from components.figures.dag import draw_dag
from components.figures.ingredients import draw_ingredients
from components.figures.scatter import draw_scatter
from components.figures.shifts import draw_shifts
from components.figures.sweep import draw_sweep
from components.figures.timeline import draw_timeline

KINDS = ("zero_shot", "single", "best", "uniform", "greedy", "ensemble", "greedy_ensemble")
POINTS = [{"name": k, "kind": k, "alpha": None, "x": 0.5 + 0.05 * i, "y": 0.4 + 0.04 * i} for i, k in enumerate(KINDS)]
CURVE = [{"name": f"{a}", "kind": "wise", "alpha": a / 4, "x": 0.5 + 0.1 * a, "y": 0.45 + 0.05 * a} for a in range(5)]
SHIFTS = [{"split": s, "model": m, "kind": m, "value": 0.6, "low": 0.5, "high": 0.7} for s in ("test", "noise") for m in KINDS[:3]]
SEARCH = [
    {"trial": 4, "accepted": True, "value": 0.9, "soup": None},
    {"trial": 1, "accepted": False, "value": 0.85, "soup": 0.88},
    {"trial": 0, "accepted": True, "value": 0.8, "soup": 0.91},
]
SWEEP = [
    {"trial": 0, "lr": 1e-5, "smoothing": 0.0, "augment": "none", "same": 1, "value": 0.9},
    {"trial": 1, "lr": 1e-3, "smoothing": 0.1, "augment": None, "same": 1, "value": None},
    {"trial": 2, "lr": 1e-4, "smoothing": None, "augment": "rand", "same": 1, "value": 0.8},
]
COSINES = [{"first": a, "second": b, "cosine": 1.0 if a == b else -0.2} for a in "xyz" for b in "xyz"]
STAGES = [
    {"id": "a", "label": "base", "function": "pretrained", "state": "hit", "seconds": None, "inputs": ()},
    *({"id": f"t{i}", "label": f"trial {i}", "function": "train", "state": "ran", "seconds": 70.0, "inputs": ("a",)} for i in range(8)),
    {"id": "g", "label": "greedy", "function": "greedy", "state": "failed", "seconds": 1.0, "inputs": tuple(f"t{i}" for i in range(8))},
    {"id": "p", "label": "predict", "function": "predict", "state": "blocked", "seconds": None, "inputs": ("g", "a")},
]
TIMES = [
    {"function": "train", "label": "t", "worker": f"w{i % 2}", "started": i, "seconds": 2.0, "attempts": 1 + i, "state": "ran"}
    for i in range(3)
]
DRAWN: list[tuple[str, Callable[[], Any], tuple[str, ...]]] = [
    ("scatter", lambda: draw_scatter(POINTS + CURVE, (0.8, -0.2)), ("greedy soup", "y = x", "line of the fine-tunes", "0.25")),
    ("scatter0", lambda: draw_scatter([dict(POINTS[0], x=0.0, y=1.0), POINTS[1]]), ("zero-shot",)),
    ("shifts", lambda: draw_shifts(SHIFTS), ("noise", "best")),
    ("ingredients", lambda: draw_ingredients(SEARCH, 450), ("trial 4", "accepted", "rejected", "90.0")),
    ("sweep", lambda: draw_sweep(SWEEP), ("lr", "log scale", "rand", "trial 2")),
    ("cosines", lambda: draw_cosines(COSINES), ("x", "-0.20")),
    ("dag", lambda: draw_dag(STAGES), ("8 \N{MULTIPLICATION SIGN} train", "8 ran · 9.3 min", "greedy", "blocked")),
    ("timeline", lambda: draw_timeline(TIMES), ("train", "w1", "↻2")),
]


@pytest.mark.parametrize(("name", "draw", "words"), DRAWN, ids=[name for name, _, _ in DRAWN])
def test_a_picture_is_well_formed_says_its_words_and_is_the_same_again(name: str, draw: Callable[[], Any], words: tuple[str, ...]) -> None:
    first, second = style.svg(draw(), name), style.svg(draw(), name)
    assert first == second
    tree = ET.fromstring(first)
    texts = {"".join(node.itertext()) for node in tree.iter() if node.tag.endswith("text")}
    assert set(words) <= texts, texts
    ids = [node.get("id") for node in tree.iter() if node.get("id")]
    assert all(i.startswith(f"{name}-") for i in ids)
    assert style.png(draw()).startswith(b"\x89PNG")


def test_the_sweep_leaves_out_knobs_that_never_vary() -> None:
    assert ">same<" not in style.svg(draw_sweep(SWEEP), "sweep")


def test_names_that_would_lie_on_each_other_are_left_out_and_the_best_is_there() -> None:
    rows = [{"trial": i, "value": value, "lr": 10.0**-i, "stopped": value < 0.8} for i, value in enumerate((0.5, 0.896, 0.9, 0.7))]
    drawn = style.svg(draw_sweep(rows), "sweep")
    assert [f">trial {i}<" in drawn for i in range(4)] == [True, False, True, True] and drawn.count("stroke-dasharray") == 2


def test_threads_draw_the_same_pictures() -> None:
    alone = [style.svg(draw(), name) for name, draw, _ in DRAWN]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda d: style.svg(d[1](), d[0]), DRAWN))
    assert together == alone


def test_drawing_never_imports_pyplot() -> None:
    program = (
        "import sys; from components.figures.scatter import draw_scatter; assert 'matplotlib' not in sys.modules;"
        "from components.figures import style; point = dict(name='a', kind='best', alpha=None, x=.5, y=.5);"
        "style.svg(draw_scatter([point]), 'a'); style.png(draw_scatter([point])); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_rows_become_csv_with_the_union_of_their_columns() -> None:
    assert style.table([{"a": 1, "b": "x,y"}, {"a": None, "c": 2}]) == 'a,b,c\n1,"x,y",\n,,2\n'
