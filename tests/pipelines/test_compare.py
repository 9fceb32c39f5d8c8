"""What the comparison describes: which rows there are with less than everything given, and that its trials are those of soup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from components.models.openclip import pretrained
from infra.dag import Fingerprints, Plan, call
from pipelines import compare, soup, tasks
from pipelines.compare import Compare
from pipelines.report.compare import compare as ended
from pipelines.report.compare import model

SMOKE: Compare = compare.PRESETS["smoke"]
TRAINED = {"learned soup", "learned by layer"}
OF_OTHERS = {"PAINT", "recycled soup"}


def rows(study: Compare) -> list[str]:
    return [candidate.name for candidate in study.plan().about.candidates]


def fine_tunes(plan: Plan) -> set[str]:
    prints = Fingerprints()
    return {prints.key(node) for node in plan.nodes() if node.function == "train" and node.title.startswith("trial ")}


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"others": ()}, OF_OTHERS),
        ({"others": (tasks.DIGITS,)}, OF_OTHERS),  # the task itself: nothing that it could forget, no other start
        ({"trials": 1}, TRAINED | {"trial 1"}),
        ({"alphas": ()}, {"WiSE-FT, held-out alpha", "WiSE-FT 0.5"}),
    ],
)
def test_what_lacks_its_ingredients_is_no_row(change: dict[str, object], gone: set[str]) -> None:
    whole, left = rows(SMOKE), rows(replace(SMOKE, **change))  # type: ignore[arg-type]
    assert len(set(whole)) == len(whole) and [name for name in whole if name not in gone] == left and gone <= set(whole)


def test_the_task_itself_is_none_of_the_others() -> None:
    twice = replace(SMOKE, others=(tasks.DIGITS, *SMOKE.others)).plan()
    prints = Fingerprints()
    assert {prints.key(node) for node in twice.nodes()} == {prints.key(node) for node in SMOKE.plan().nodes()}


def test_its_trials_are_those_of_soup() -> None:
    found = fine_tunes(compare.PRESETS["tiny"].plan())
    assert len(found) == 8 and found == fine_tunes(soup.PRESETS["tiny"].plan())


@pytest.mark.parametrize("preset", ["smoke", "tiny", "paper"])
def test_every_preset_compares_all_methods(preset: str) -> None:
    assert set(rows(compare.PRESETS[preset])) >= TRAINED | OF_OTHERS


@pytest.mark.parametrize("role", ["winner", "baseline"])
def test_a_winner_and_a_baseline_are_candidates(role: str) -> None:
    base = tasks.named(tasks.DIGITS, call(pretrained, model=SMOKE.model))
    with pytest.raises(ValueError, match=f"the {role} 'gone' is no candidate: choose one of a, b"):
        ended(tasks.DIGITS, [model(name, "other", base) for name in "ab"], base=base, **{"winner": "a", "baseline": "b", role: "gone"})
