"""The plan of patches: what shares a node, what grows, and what is refused in one line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.dag import Fingerprints
from pipelines import tasks
from pipelines.__main__ import main
from pipelines.patch import PRESETS, Patch
from pipelines.tasks import Task

TINY = PRESETS["tiny"]


def test_the_supported_set_grows_from_patch_to_patch() -> None:
    nodes = [node for node in TINY.plan().nodes() if node.function == "patch" and len(node.arguments["patching"]) == 1]
    sizes = [len(node.arguments["supported"]) for node in nodes]
    assert sorted(sizes) == [3, 3, 3, 4, 5]
    last = next(node for node in nodes if len(node.arguments["supported"]) == 5)
    assert last.arguments["supported"][3:] == [tasks.TYPOGRAPHIC.held_out, tasks.SCALED.held_out]
    assert last.arguments["base"].arguments["base"].arguments["patching"] == [tasks.TYPOGRAPHIC.held_out]


def test_every_head_is_made_from_the_unpatched_model_and_used_wherever_its_task_is_asked() -> None:
    plan = TINY.plan()
    heads = {node.arguments["classes"]: node for node in plan.nodes() if node.function == "zero_shot"}
    assert {node.arguments["model"].function for node in heads.values()} == {"pretrained"}
    asked = [node for node in plan.nodes() if node.function == "predict"]
    assert asked and all(node.arguments["head"].function == "zero_shot" for node in asked)


def test_a_seed_moves_the_trainings_and_nothing_before_them() -> None:
    prints = Fingerprints()
    one, other = ({node.title: prints.of(node) for node in replace(TINY, seed=seed).plan().nodes()} for seed in (0, 1))
    same = {title for title, found in one.items() if other[title] == found}
    assert "pretrained" in same and "zero_shot" in same and not any("tuned" in title or "patch" in title for title in same)


BAD: list[tuple[tuple[Task, ...], tuple[Task, ...], str]] = [
    ((tasks.SCALED, tasks.SHAPES), (tasks.GARMENTS, tasks.SHAPES), "shapes is both patching and supported"),
    ((tasks.SCALED, tasks.SCALED), (tasks.SHAPES,), "scaled is given twice"),
    ((), (tasks.SHAPES,), "no patching task"),
    ((tasks.SCALED,), (), "no supported task"),
    (
        (tasks.SCALED,),
        (replace(tasks.DIGITS, classes=tasks.DIGITS.classes[::-1]),),
        "digits and scaled have the same classes in another order",
    ),
]


@pytest.mark.parametrize(("patching", "supported", "told"), BAD)
def test_what_is_no_patch_is_refused_when_it_is_planned(patching: tuple[Task, ...], supported: tuple[Task, ...], told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        Patch(patching, supported).plan()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--alphas", "[]"], "alphas are none: give one or more"),
        (["--alphas", "0.5,1.5"], "alphas are 0.5, 1.5: give one or more"),
        (["--patching", "[SCALED,SHAPES]"], "shapes is both patching and supported"),
    ],
)
def test_the_command_ends_with_2_and_one_line(flags: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    assert main(["plan", "patch", "tiny", "--store", str(tmp_path), *flags]) == 2
    assert told in (line := capsys.readouterr().err.strip()) and "\n" not in line


def test_a_task_with_the_words_in_view_keeps_the_kin_of_its_words() -> None:
    """Where the written word is the answer, fewer are better: no shift that a mean may be over."""
    assert list(tasks.TYPOGRAPHIC.shifts) == ["without the word", "typefaces with a word"]
    assert list(tasks.TYPOGRAPHIC.kin) == [*tasks.TYPOGRAPHIC.shifts, "answers the word"] and tasks.SCALED.kin == tasks.SCALED.shifts
    assert "typefaces with a word" not in tasks.Attacked(tasks.GARMENTS, ()).shifts
    assert list(tasks.COUNTING.shifts) == ["counts 3, 5"] and tasks.Counting(counts=(1, 2, 3, 4, 5, 6)).shifts == {}


def test_the_name_says_what_was_written_over_or_shrunk() -> None:
    assert (tasks.TYPOGRAPHIC.name, tasks.SCALED.name) == ("typographic", "scaled")
    assert tasks.Attacked(tasks.TYPEFACES).name == "typographic typefaces" and tasks.Scaled(tasks.TYPEFACES).name == "scaled typefaces"


def test_the_first_of_the_sequence_is_the_single_patch() -> None:
    """Three fine-tunes, two that follow a patch, and the joint one."""
    prints = Fingerprints()
    assert len({prints.of(node) for node in TINY.plan().nodes() if node.function == "train"}) == 6
