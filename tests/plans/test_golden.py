"""Components and plans are what they were, or say that they changed: a stale hit would be a silent wrong number."""

from __future__ import annotations

import pytest

from tests.plans.bless import GOLDEN, PLAN, TARGETS, code, components, known, plan, targets

REMEDY = "raise its @revision where the same arguments now give another result, then run: make bless NAME={}"


def test_every_component_is_known() -> None:
    now, golden = components(), known(GOLDEN)
    assert set(now) == set(golden), f"new {sorted(set(now) - set(golden))}, gone {sorted(set(golden) - set(now))}: make bless NAME=all"


@pytest.mark.parametrize("name", known(GOLDEN))
def test_a_component_is_what_it_was_or_has_a_new_revision(name: str) -> None:
    now, golden = components().get(name), known(GOLDEN)[name]
    if now is not None and now["revision"] == golden["revision"]:
        changed = [fact for fact in ("defaults", "code") if now[fact] != golden[fact]]
        assert not changed, f"{name}: its {' and '.join(changed)} changed; {REMEDY.format(name)}"


def test_the_plan_of_the_tiny_soup_is_what_it_was() -> None:
    now, golden = plan(), known(PLAN)
    changed = [name for name in golden if now.get(name) != golden[name]] + [name for name in now if name not in golden]
    assert not changed, f"{len(changed)} of {len(golden)} nodes have another identity, e.g. {changed[:3]}; if that is meant: make bless NAME=all"


def test_the_targets_of_every_tiny_study_are_what_they_were() -> None:
    now, golden = ({(study, name): key for study, each in found.items() for name, key in each.items()} for found in (targets(), known(TARGETS)))
    changed = sorted(name for name in {*now, *golden} if now.get(name) != golden.get(name))
    assert not changed, f"{len(changed)} targets have another identity, e.g. {changed[:3]}; if that is meant: make bless NAME=all"


def test_prose_and_layout_are_free_and_code_is_not() -> None:
    written = "@revision(1)\ndef f(x):\n    '''Says.'''\n    # why\n    return x + 1\n"
    assert code(written) == code("@revision(2)\ndef f(x):\n    return (x +\n        1)  # because\n")
    assert code(written) != code(written.replace("+ 1", "+ 2"))
    assert code("if x:\n    y()\nz()\n") != code("if x:\n    y()\n    z()\n")
