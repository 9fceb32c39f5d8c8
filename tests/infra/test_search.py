"""Searches: the decisions, what is recorded of each trial, what is found again, and what is refused. One trial after another, without Ray."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.dag import ASHA, Node, Optuna, Random, call, draw, search, sweep, top
from infra.errors import IntegrityError
from infra.search import Rungs
from infra.space import LogUniform, Space, Uniform
from tests.infra.toys import add, climb, climbed, count, number
from tests.infra.world import Refuses, World

SPACE: Space = {"slope": Uniform(0.0, 1.0)}
HALVING = ASHA(max_t=16, grace=2, reduction=2)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def searched(n: int = 8, scheduler: ASHA | None = HALVING, searcher: Random | Optuna = Random(3), **arguments: Any) -> Node:  # noqa: B008
    given = {"over": SPACE, "monitor": 1, "to": 16, **arguments}
    return search(climb, n=n, scheduler=scheduler, searcher=searcher, label="climb", **given)


def test_a_search_records_every_trial_and_its_best_are_found_again(world: World) -> None:
    node = searched()
    best = top(node, 2)
    finished = world.run(a=best[0], b=best[1], s=node)
    trials = finished.value(node)
    assert finished.exit_code == 0 and [trial["index"] for trial in trials] == list(range(8))
    assert [trial["point"] for trial in trials] == draw(SPACE, 8, seed=3)
    assert {trial["state"] for trial in trials} == {"done", "stopped"}
    for trial in trials:
        heights = world.store.load(trial["key"])
        assert len(heights) == trial["step"] == len(trial["looks"]) and heights[-1] == trial["value"]
        record = world.store.record(trial["key"])
        assert (trial["state"] == "stopped") == (record.summary.get("stopped") == trial["step"] < 16)
    done = sorted((trial["value"] for trial in trials if trial["state"] == "done"), reverse=True)
    assert [finished.value(node)[-1] for node in best] == done[:2]
    again = world.run(Refuses(), a=best[0], b=best[1], s=searched())
    assert set(again.state.values()) == {"hit"}


def test_a_trial_that_was_not_stopped_is_the_call_of_a_sweep(world: World) -> None:
    world.run(**{f"t{i}": node for i, node in enumerate(sweep(climb, over=draw(SPACE, 4, seed=3), to=16, monitor=1))})
    node = searched(4)
    trials = world.run(s=node).value(node)
    assert {trial["state"] for trial in trials} == {"done"} and not [e for e in world.journal("running") if e["key"].startswith("climb")]


def test_trials_that_were_stopped_are_taken_where_they_are_wanted(world: World) -> None:
    node = searched(scheduler=ASHA(max_t=8))  # before the end of any
    good, wanted = call(add, terms=[call(number, value=1)]), top(node, 8, stopped=True)
    refused = top(node, 1)[0]
    finished = world.run(good=good, refused=refused, **{str(i): each for i, each in enumerate(wanted)})
    (failure,) = finished.failures.values()
    assert "0 trials that ended, and 8 were stopped early (top(..., stopped=True) takes them)" in failure.error
    heights = [finished.value(each) for each in wanted]
    assert max(map(len, heights)) == 8 and [h[-1] for h in heights] == sorted((h[-1] for h in heights), reverse=True)


def test_ties_go_to_the_earlier_trial(world: World) -> None:
    node = search(climb, over={"bad": Uniform(2.0, 3.0)}, n=3, monitor=1, to=2, slope=1.0)
    first, second = top(node, 2)
    finished = world.run(a=first, b=second)
    keys = [trial["key"] for trial in finished.value(node)]
    assert [keys[i] in finished.record(each).inputs for i, each in enumerate((first, second))] == [True, True]


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(world: World) -> None:
    node = searched(bad=0.5)
    trials = world.run(s=node).value(node)
    failed = [trial for trial in trials if trial["point"]["slope"] > 0.5]
    assert failed and all(trial["state"] == "failed" and trial["error"].startswith("slope") for trial in failed)
    assert world.store.failure(failed[0]["key"])["kind"] == "Diverged"
    hopeless = world.run(s=searched(bad=0.0))
    assert "all 8 trials failed, the first with: slope" in next(iter(hopeless.failures.values())).error


@pytest.mark.parametrize("searcher", [Random(3), Optuna(3)])
def test_an_interrupted_search_ends_as_one_that_was_not(searcher: Any, tmp_path: Path) -> None:
    """It goes on with its rungs, and with what a searcher had learned; of a trial whose file cannot be read no more is lost than that."""
    whole, killed, marker = World(tmp_path / "whole"), World(tmp_path / "killed"), tmp_path / "marker"
    node = searched(8, searcher=searcher, marker=str(marker))
    marker.write_bytes(b"many")
    expected = whole.run(s=node).value(node)
    marker.unlink()
    finished = killed.run(s=node)
    assert finished.retries == 1 and finished.value(node) == expected
    key = finished.fingerprints.key(node)
    killed.store.place.remove(f"{key}/record.json")
    killed.store.place.write(f"{key}/state/trials/7.json", b"{")
    killed.store.forget([key])
    ran = killed.run(s=node)
    assert ran.value(node)[:7] == expected[:7] and len(ran.value(node)) == 8 and len(killed.journal("running")) <= 1


def test_payloads_of_trials_that_are_gone_or_spoiled_are_made_again(world: World) -> None:
    """Its record and all of one, and the bytes of two others; nothing else of the search is."""
    node = search(climbed, over=SPACE, n=6, searcher=Random(3), monitor=1, to=2)
    best = {str(i): each for i, each in enumerate(top(node, 3))}
    trials = world.run(s=node).value(node)
    ranked = sorted(trials, key=lambda trial: -trial["value"])
    shutil.rmtree(world.folder / "store" / ranked[0]["key"])
    for trial in ranked[1:3]:
        next((world.folder / "store" / trial["key"]).glob("attempts/*/open_clip_model.safetensors")).write_bytes(b"")
    world.store.forget([trial["key"] for trial in trials])
    finished = world.run(**best)
    tops = [float(dict(finished.value(each).tensors())["visual.weight"][-1]) for each in best.values()]
    assert tops == pytest.approx([trial["value"] for trial in ranked[:3]])
    assert finished.exit_code == 0 and finished.value(node) == trials and ("damaged", "search") in world.told
    assert sum(event["key"].startswith("climbed") for event in world.journal("running")) == 3


def test_a_record_that_is_not_of_a_search_is_an_integrity_error(world: World) -> None:
    node = searched(2)
    finished = world.run(s=node)
    path = world.folder / "store" / finished.fingerprints.key(node) / "record.json"
    record = json.loads(path.read_text())
    for value in (3, [{"key": 1}], [{**record["result"]["value"][0], "state": "done", "key": "../elsewhere"}]):
        path.write_text(json.dumps({**record, "result": {"value": value}}))
        with pytest.raises(IntegrityError, match="not the trials of a search"):
            World(world.folder).run(a=top(node, 1)[0])


def test_what_is_learned_is_better_than_chance(world: World) -> None:
    space: Space = {"slope": LogUniform(1e-3, 1.0)}
    nodes = {kind: search(climb, over=space, n=40, searcher=kind, monitor=2, to=2) for kind in (Random(0), Optuna(0))}
    finished = world.run(**{type(kind).__name__: node for kind, node in nodes.items()})
    late = {type(kind).__name__: sum(t["value"] for t in finished.value(node)[20:]) for kind, node in nodes.items()}
    assert late["Optuna"] > 2 * late["Random"]


def test_a_search_and_its_knobs_are_identity() -> None:
    from infra.dag import Fingerprints

    prints = Fingerprints()
    variants = [
        searched(), searched(9), searched(searcher=Random(4)), searched(searcher=Optuna(3)), searched(scheduler=None), searched(to=17),
        searched(over={"slope": Uniform(0.0, 2.0)}), call(climb, slope=1.0, to=16),
    ]  # fmt: skip
    assert len({prints.key(node) for node in variants}) == len(variants)
    assert prints.key(searched(scheduler=ASHA(16, 2, 2.0))) == prints.key(searched()) and prints.key(searched()).startswith("search-")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: search(count, over={"to": Uniform(0, 1)}, n=2, monitor=1), "count.. has no monitor by which a search could choose"),
        (lambda: searched(0), "give at least one of each"),
        (lambda: searched(over={"slop.lr": Uniform(0, 1)}), "slop"),
        (lambda: searched(over={"slop": Uniform(0, 1)}), "did you mean 'slope'"),
        (lambda: ASHA(max_t=3, grace=4), "1 <= grace <= max_t"),
        (lambda: top(searched(2), 3), "as many as it has trials"),
        (lambda: top(call(number, value=1), 1), "give a search"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_before_it_runs(wrong: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        wrong()


def test_asha_lets_the_better_half_go_on() -> None:
    rungs = Rungs(ASHA(max_t=8, grace=2, reduction=2))
    assert [step for step, _ in rungs.reached] == [8, 4, 2]
    assert not rungs.look(0, 1, 0.0) and not rungs.look(0, 2, 0.5)
    assert rungs.look(1, 2, 0.4) and not rungs.look(2, 2, 0.5) and not rungs.look(2, 3, 0.0)
    assert rungs.look(2, 8, 9.0)  # nobody goes on from there
