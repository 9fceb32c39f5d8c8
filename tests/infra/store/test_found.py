"""Queries over a store's records: members by digest, trials that change only with their member, and a second run that finds everything done."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from components.data import Folder
from components.models.openclip import OpenClip
from components.models.stored import nth
from components.objectives.ascent import Ascent
from components.objectives.classification import CrossEntropy
from infra.dag import Fingerprints, Plan, call
from infra.errors import IntegrityError
from infra.store.record import Record
from tests.infra.recycling import AUXILIARY, TARGET, Data, Kitchen, auxiliary, base, crowned, looked, query, recycled, scaled, trained
from tests.infra.world import Refuses


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three auxiliary models."""
    folder = tmp_path_factory.mktemp("stocked")
    Kitchen(folder).cook(Plan(auxiliary(0.9, 0.8, 0.7)))
    return folder / "store"


@pytest.fixture
def kitchen(stocked: Path, tmp_path: Path) -> Kitchen:
    shutil.copytree(stocked, tmp_path / "store")
    return Kitchen(tmp_path)


def keys(kitchen: Kitchen, plan: Plan) -> dict[str, str]:
    """{trial: key} of `recycled` as the store is now."""
    prints = Fingerprints(kitchen.pinned(plan))
    return {name: prints.key(node) for name, node in plan.targets.items() if name.startswith("trial")}


def members(kitchen: Kitchen, **changes: Any) -> list[str]:
    (found,) = kitchen.pinned(recycled(1, query(**changes))).found.values()
    return [member.key for member in found]


def test_members_come_by_digest_whatever_came_first(kitchen: Kitchen, tmp_path: Path) -> None:
    other = Kitchen(tmp_path / "other")
    other.cook(Plan(auxiliary(0.7)))
    other.cook(Plan(auxiliary(0.8, 0.9)))
    found = members(kitchen)
    digests = [kitchen.store.finished(key).digest for key in found]
    assert len(found) == 3 and digests == sorted(digests) and members(other) == found


def test_a_trial_holds_the_digest_of_its_member_byte_for_byte(kitchen: Kitchen) -> None:
    done, found = kitchen.cook(recycled(4)), members(kitchen)
    assert done.complete and not done.failures
    draws = [node for node in done.plan.nodes() if node.fn is nth]
    for node, key in zip(draws, [*found, found[0]], strict=True):  # the index counts modulo their number
        record, member = done.record(node), kitchen.store.finished(key)
        assert record is not None and record.digest == member.digest and record.inputs == {key: member.digest}
        assert record.arguments == {"found": {"content": member.digest}}


def test_the_second_run_finds_everything_done_and_so_does_one_in_a_copy(kitchen: Kitchen, tmp_path: Path) -> None:
    """The first run's own trials, those from the base included, are no members of the second's."""
    for found in (query(), query(avoid=())):
        plan = recycled(2, found)
        first = kitchen.cook(plan)
        again = kitchen.cook(plan, Refuses())
        assert first.complete and again.complete and set(again.state.values()) == {"hit"}
    shutil.copytree(tmp_path / "store", tmp_path / "moved")
    moved = Kitchen(tmp_path, str(tmp_path / "moved"))
    assert set(moved.cook(recycled(2), Refuses()).state.values()) == {"hit"}


def test_the_line_says_where_starts_repeat(kitchen: Kitchen) -> None:
    one, other, third = members(kitchen)
    assert kitchen.pinned(recycled(3)).told == [f"recycling 3 of the store's models that descend from stockpot-tiny: {one}, {other}, {third}"]
    assert kitchen.pinned(recycled(4)).told[0].endswith("; 3 found for 4 starts: they take turns")
    told = kitchen.pinned(recycled(2, query(only=(one,)))).told[0]
    assert told.endswith("; 1 found for 2 starts: each begins with it; left out: 2 excluded by name")


def test_what_was_made_of_members_is_no_member_of_other_plans_either(kitchen: Kitchen) -> None:
    kitchen.cook(recycled(1))
    elsewhere = Plan({"trial": call(scaled, init=call(nth, found=query(avoid=())), by=0.1)})
    pins = kitchen.pinned(elsewhere)
    (found,) = pins.found.values()
    assert len(found) == 4  # the auxiliary models, and the other plan's trial from the base
    assert "1 made of recycled models" in pins.told[0]


def test_a_new_record_changes_only_trials_whose_member_changed(kitchen: Kitchen) -> None:
    plan, before = recycled(3), members(kitchen)
    old = keys(kitchen, plan)
    kitchen.cook(Plan(auxiliary(0.6)))
    after, new = members(kitchen), keys(kitchen, plan)
    assert len(after) == 4 and [key for key in after if key in before] == before
    for i in range(3):
        assert (old[f"trial {i + 1}"] == new[f"trial {i + 1}"]) == (before[i] == after[i])
    assert old["trial 0"] == new["trial 0"] and set(old.values()) & set(new.values()) - {old["trial 0"]}


def test_equal_models_are_one_member_and_the_model_itself_is_none(kitchen: Kitchen) -> None:
    half = call(scaled, init=base(), by=0.5, data=AUXILIARY)
    doubled = call(scaled, init=call(scaled, init=base(), by=0.25, data=AUXILIARY), by=2.0)
    kitchen.cook(Plan({"half": half, "doubled": doubled, "itself": call(scaled, init=base(), by=1.0)}))
    assert len(kitchen.store.keys("scaled")) == 7 and len(members(kitchen)) == 5


def test_a_model_that_was_trained_to_fail_is_none(kitchen: Kitchen) -> None:
    well, badly = CrossEntropy(), Ascent(CrossEntropy())
    models = {"a": (0.6, well), "b": (0.5, badly)}
    kitchen.cook(Plan({name: call(trained, init=base(), by=by, objective=one, data=AUXILIARY) for name, (by, one) in models.items()}))
    assert len(members(kitchen, functions=("trained",))) == 1
    with pytest.raises(ValueError, match="1 trained to fail at their task"):
        members(kitchen, functions=("trained",), exclude=tuple(members(kitchen, functions=("trained",))))


def test_a_head_that_was_trained_on_the_target_leaves_the_towers_to_be_found(kitchen: Kitchen) -> None:
    """As recycling itself does with each member; of equal towers the one that has seen least is taken."""
    known = members(kitchen)
    towers = {key: call(scaled, init=base(), by=by, data=AUXILIARY) for key, by in (("a", 0.9), ("b", 0.7))}
    kitchen.cook(Plan({name: call(crowned, init=node, data=TARGET) for name, node in towers.items()}))
    for avoid in ((TARGET,), ()):
        assert members(kitchen, functions=("scaled", "crowned"), avoid=avoid) == known
    with pytest.raises(ValueError, match="of 2 models of crowned, 2 that have seen the data to avoid"):
        members(kitchen, functions=("crowned",))
    kitchen.cook(Plan({"probe": call(crowned, init=base(), data=AUXILIARY)}))
    with pytest.raises(ValueError, match="1 with the model's own towers"):
        members(kitchen, functions=("crowned",))


def test_what_has_seen_the_target_is_left_out_and_refused_by_name(kitchen: Kitchen) -> None:
    """Whatever part of it, and also where the same tensors came by another name, of whose data nothing is known."""
    kept = members(kitchen)
    kitchen.cook(Plan({"seen": call(scaled, init=base(), by=0.5, data=Data("target", 0.0, 0.1))}))
    assert members(kitchen) == kept
    assert "1 that have seen the data to avoid" in kitchen.pinned(recycled(1)).told[0]
    seen = next(key for key in kitchen.store.keys("scaled") if key not in kept)
    with pytest.raises(IntegrityError, match=f"{seen} has seen the data to avoid, Data: .*leave it out"):
        members(kitchen, only=(seen,))
    kitchen.cook(Plan({"the same again": (again := call(scaled, init=base(), by=0.5))}))
    assert members(kitchen) == kept
    with pytest.raises(IntegrityError, match="has seen the data to avoid"):
        members(kitchen, only=(kitchen.key(again),))


def test_the_same_bytes_at_another_address_are_the_same_data(kitchen: Kitchen, tmp_path: Path) -> None:
    for name in ("photos", "copied"):
        (tmp_path / name / "cat").mkdir(parents=True)
        (tmp_path / name / "cat" / "1.png").write_text("one")
    kitchen.cook(Plan({"one": call(scaled, init=base(), by=0.5, data=Folder(str(tmp_path / "photos")))}))
    assert len(members(kitchen, avoid=())) == 4
    assert len(members(kitchen, avoid=(Folder(str(tmp_path / "copied"), bad=0.5),))) == 3


def test_a_plan_that_would_report_on_what_trained_a_member_is_refused(kitchen: Kitchen) -> None:
    kitchen.cook(Plan(auxiliary(0.9, data=Data("other", 0.0, 0.5))))
    kitchen.cook(Plan(auxiliary(0.5, data=Data("other", 0.0, 0.5))))
    found = query(avoid=(AUXILIARY,))
    plan = recycled(1, found, report=Data("other", 0.4, 1.0))
    with pytest.raises(IntegrityError, match=r"looked would report on examples that scaled-\w+, as its record says, was trained on: "):
        kitchen.cook(plan, Refuses())
    assert kitchen.cook(recycled(1, found, report=Data("other", 0.5, 1.0))).complete
    seen = {tuple(use) for node in plan.nodes() if node.fn is scaled for use in kitchen.store.finished(kitchen.key(node)).data}
    assert ("trains", '{"is": "Data@1", "name": "other"}', 0.0, 0.5) in seen  # what descends from a member remembers it


def test_what_the_plan_itself_trained_on_is_no_record_s_fault(kitchen: Kitchen, tmp_path: Path) -> None:
    """The member and the plan have seen the same bytes, which are reported on by another address: only content tells."""
    for name in ("photos", "copied"):
        (tmp_path / name / "cat").mkdir(parents=True)
        (tmp_path / name / "cat" / "1.png").write_text("one")
    photos, copied = Folder(str(tmp_path / "photos")), Folder(str(tmp_path / "copied"))
    kitchen.cook(Plan({"one": (one := call(scaled, init=base(), by=0.5, data=photos))}))
    member = call(nth, found=query(only=(kitchen.key(one),)))
    by_plan, by_record = "on examples that were trained on: .*give it a split of its own", "as its record says, was trained on: .*avoid this data"
    for own, told in ((photos, by_plan), (None, by_record)):
        report = call(looked, models=[call(scaled, init=member, by=0.25, data=own)], data=copied)
        with pytest.raises(IntegrityError, match=told):
            kitchen.cook(Plan({"report": report}), Refuses())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"functions": ("train",)}, "has nothing to recycle that descends from stockpot-tiny: there is no model of train; train some"),
        ({"exclude": ("scaled-",)}, "of 3 models of scaled or adopt, 3 excluded by name; train some"),
        ({"only": ("scaled-0000",)}, "has no model of scaled or adopt whose key begins with scaled-0000; stockpot ls lists"),
        ({"model": OpenClip("ViT-B-32", "openai")}, "descends from ViT-B-32 openai: its ancestry is not known there; run a study"),
    ],
)
def test_nothing_found_is_one_line_with_the_remedy(kitchen: Kitchen, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError) as caught:
        members(kitchen, **changes)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_an_index_below_zero_is_refused(kitchen: Kitchen) -> None:
    with pytest.raises(ValueError, match="index -1 of what a query finds; count from 0"):
        kitchen.pinned(Plan({"one": call(nth, found=query(), index=-1)}))


def test_models_of_another_ancestry_are_left_out_and_refused_by_name(kitchen: Kitchen) -> None:
    found = members(kitchen)
    record = kitchen.store.finished(found[0])
    stranger = Record(**{**vars(record), "key": "scaled-0123456789abcdef0123", "summary": {**record.summary, "ancestry": "f" * 64}})
    assert kitchen.store.publish(stranger) and members(kitchen) == found
    with pytest.raises(ValueError, match=r"scaled-0123456789abcdef0123 does not descend from stockpot-tiny, .*leave it out"):
        members(kitchen, only=("scaled-",))


def test_a_damaged_member_fails_its_trial_in_one_line(kitchen: Kitchen) -> None:
    mine = members(kitchen)[0]
    folder = Path(kitchen.store.payload(kitchen.store.finished(mine)))
    content = (folder / "open_clip_model.safetensors").read_bytes()
    (folder / "open_clip_model.safetensors").write_bytes(content[:-4] + b"spam")
    done = kitchen.cook(recycled(1))
    (outcome,) = (failure for key, failure in done.failures.items() if key.startswith("nth-"))
    assert "a query found it in the store" in outcome.error and f"exclude {mine}" in outcome.error and outcome.code == 5
