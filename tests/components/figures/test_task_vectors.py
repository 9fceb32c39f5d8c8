"""The pictures of task arithmetic say what their rows say."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

from components.figures import style
from components.figures.additions import draw_additions
from components.figures.analogies import draw_analogies
from components.figures.cosines import draw_task_cosines
from components.figures.forgetting import draw_forgetting


def near(**values: float) -> dict[str, float]:
    return {**values, **{f"{key}_{end}": value + by for key, value in values.items() for end, by in (("low", -0.05), ("high", 0.05))}}


FORGOTTEN = [
    {"target": target, "method": method, **near(target_accuracy=0.5 + 0.1 * m, control_accuracy=0.9 - 0.1 * t)}
    for t, target in enumerate(["digits", "garments", "letters", "shapes", "mean of targets"])
    for m, method in enumerate(["pretrained", "negative task vector"])
]
ADDED = [{"tasks": name, **near(normalised=0.9, zero_shot=0.6)} for name in ("digits + letters", "all 4: TIES")]
ANALOGY = [{"model": name, "coefficient": 0.4 if name == "analogy" else None, **near(accuracy=0.25)} for name in ("zero-shot", "analogy")]
COSINES = [{"task": "digits", "digits": 1.0, "letters": 0.25}, {"task": "letters", "digits": 0.25, "letters": 1.0}]
DRAWN: list[tuple[str, Callable[[], Any], tuple[str, ...]]] = [
    ("forgetting", lambda: draw_forgetting(FORGOTTEN), ("negative task vector", "shapes", "50.0", "75.0")),
    ("additions", lambda: draw_additions(ADDED), ("digits + letters", "all 4: TIES", "zero-shot")),
    ("task_cosines", lambda: draw_task_cosines(COSINES), ("digits", "letters", "0.25", "1.00")),
    ("analogies", lambda: draw_analogies(ANALOGY), ("analogy", "25.0")),
]


@pytest.mark.parametrize(("name", "draw", "words"), DRAWN, ids=[name for name, _, _ in DRAWN])
def test_a_picture_is_well_formed_and_says_its_words(name: str, draw: Callable[[], Any], words: tuple[str, ...]) -> None:
    first = style.svg(draw(), name)
    assert first == style.svg(draw(), name)
    texts = {"".join(node.itertext()) for node in ET.fromstring(first).iter() if node.tag.endswith("text")}
    assert set(words) <= texts and "mean of targets" not in texts, texts
