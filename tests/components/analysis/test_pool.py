"""A table in the form of the 72 published results of model soups, drawn here: read as it is, ranked, fitted and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from components.analysis.pool import points, ranked, results
from components.analysis.robustness import effective, fit, logit
from components.figures import style
from components.figures.scatter import draw_scatter
from components.types import DataError

SHIFTS = ("ImageNetV2", "ImageNetSketch", "ImageNetR", "ObjectNet", "ImageNetA")
SLOPE, INTERCEPT = 0.8, -0.7


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """72 models, every shift on one line in logit space; models 4 and 5 are the same; the held-out order is not that of the test."""
    random, file = np.random.default_rng(0), tmp_path / "individual_model_results.jsonl"
    here = random.uniform(0.7, 0.81, 72)
    here[5] = here[4]
    lines = []
    for i, x in enumerate(here):
        away = 1 / (1 + np.exp(-(SLOPE * logit(x) + INTERCEPT)))
        held_out = round(0.02 + (x if i != 7 else 0.95), 6)
        lines.append({"model_name": f"model_{i}", "ImageNet2p": held_out, "ImageNet": x, **dict.fromkeys(SHIFTS, float(away))})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_it_is_ranked_by_held_out_data_and_ties_go_to_the_earlier(published: Path) -> None:
    table = results(str(published))
    assert len(table.rows) == 72 and list(table.rows[0]) == ["model_name", "ImageNet2p", "ImageNet", *SHIFTS]
    order = ranked(table, "ImageNet2p")
    assert order[0] == "model_7" and order.index("model_5") == order.index("model_4") + 1
    values = {row["model_name"]: row["ImageNet2p"] for row in table.rows}
    assert [values[name] for name in order] == sorted(values.values(), reverse=True)


def test_its_line_is_found_and_what_lies_above_is_effective_robustness(published: Path) -> None:
    rows = points(results(str(published)), "ImageNet", SHIFTS)
    line = fit([row["x"] for row in rows], [row["y"] for row in rows])
    assert tuple(line) == pytest.approx((SLOPE, INTERCEPT), abs=1e-9)
    assert effective(line, rows[3]["x"], rows[3]["y"] + 0.03) == pytest.approx(0.03, abs=1e-9)
    assert "line of the fine-tunes" in style.svg(draw_scatter(rows, tuple(line)), "pool")


BAD = [
    ("{", "line 2 is not JSON"),
    ("[1]", "line 2 has no model_name"),
    ('{"model_name": "b", "x": NaN}', "line 2 has x = nan: an accuracy is a share"),
    ('{"model_name": "b", "x": 77.2}', r"line 2 has x = 77\.2"),
    ('{"model_name": "b", "x": "0.5"}', "line 2 has x = '0.5'"),
    ('{"model_name": "b", "y": 0.5}', "line 2 has other splits than the first line, e.g. x"),
    ('{"model_name": "a", "x": 0.5}', "line 2 is the second of the name a"),
]


@pytest.mark.parametrize(("line", "told"), BAD)
def test_a_line_that_is_no_result_is_named(line: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_text('{"model_name": "a", "x": 0.5}\n' + line + "\n")
    with pytest.raises(DataError, match=told):
        results(str(file))


def test_nothing_and_unknown_splits_are_refused(published: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(DataError, match="holds no results"):
        results(str(tmp_path / "empty"))
    table = results(str(published))
    with pytest.raises(ValueError, match="'ImageNet-2p' is no split of these results: they are ImageNet2p, ImageNet, ImageNetV2"):
        ranked(table, "ImageNet-2p")
    with pytest.raises(ValueError, match="no shifts"):
        points(table, "ImageNet", ())
