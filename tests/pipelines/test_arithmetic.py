"""Task arithmetic as a plan: what it refuses, and that nothing is trained twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from infra.dag import Fingerprints
from pipelines.arithmetic import PRESETS, Arithmetic
from pipelines.tasks import DIGITS, GARMENTS, SHAPES, TYPEFACES, Handwriting, Scaled, Task


@dataclass(frozen=True)
class Renamed(Handwriting):
    @property
    def name(self) -> str:
        return "others"


@pytest.mark.parametrize(
    ("tasks", "control", "said"),
    [
        ((), SHAPES, "needs two or more tasks, whose vectors can be added, got 0"),
        ((DIGITS,), SHAPES, "needs two or more tasks, whose vectors can be added, got 1"),
        ((DIGITS, GARMENTS, DIGITS), SHAPES, "two tasks are called digits: give each once"),
        ((DIGITS, SHAPES), SHAPES, "the control shapes shows images of shapes, which is to be forgotten: choose another control"),
        ((TYPEFACES, DIGITS), Scaled(DIGITS), "the control scaled shows images of digits, which is to be forgotten: choose another control"),
        ((TYPEFACES, Renamed(classes=TYPEFACES.classes[::-1])), SHAPES, "others and typefaces have the same classes in another order: name them in"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(tasks: tuple[Task, ...], control: Task, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        Arithmetic(tasks, control).plan()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("knobs", [{"coefficients": ()}, {"coefficients": (0.1, float("inf"))}, {"keep": 1.5}])
def test_coefficients_are_numbers_and_what_is_kept_is_a_part(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give one or more finite numbers, and a part from 0 to 1"):
        Arithmetic(**knobs).plan()


def test_an_analogy_has_four_tasks_or_none() -> None:
    with pytest.raises(ValueError, match="an analogy of 3 tasks: give four"):
        Arithmetic(analogy=(DIGITS, GARMENTS, SHAPES)).plan()
    assert "analogy" not in Arithmetic(analogy=()).plan().targets
    with pytest.raises(ValueError, match="the analogy has two tasks called digits: give each once, or give it another name"):
        Arithmetic(analogy=(TYPEFACES, DIGITS, GARMENTS, DIGITS)).plan()


def test_nothing_is_trained_twice() -> None:
    """Four tasks, the ascent on each, and two of the analogy, whose other two are among the four."""
    plan, prints = PRESETS["tiny"].plan(), Fingerprints()
    assert len({prints.key(node) for node in plan.nodes() if node.function == "train"}) == 10


def test_the_seed_reaches_everything_that_draws() -> None:
    keys = []
    for seed in (0, 1):
        prints = Fingerprints()
        keys.append({prints.key(node) for node in replace(PRESETS["smoke"], seed=seed).plan().nodes()})
    shared = {key.rpartition("-")[0] for key in keys[0] & keys[1]}
    assert shared <= {"pretrained", "zero_shot", "predict"}, "the base and its answers"
