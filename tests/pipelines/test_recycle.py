"""The laws of Model Ratatouille on its plan, and on a store what must not be recycled. Rame et al. 2023, arXiv:2212.10445."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from components.analysis.apart import apart
from components.data import Digits, Mixture, Sample, Split
from components.merge.towers import towers
from components.models.openclip import OpenClip, pretrained
from components.models.stored import Stored
from components.objectives.classification import CrossEntropy
from components.train import train
from components.types import Dataset, Local
from components.updates.sgd import AdamW
from infra.dag import Fingerprints, Node, Plan, call, draw
from pipelines import tasks
from pipelines.recycle import PRESETS, Recycle
from pipelines.stages.recycling import Fold, Origin, Recipe, assigned
from pipelines.tasks import named
from tests.infra.recycling import Kitchen
from tests.infra.world import Refuses

RUN = [sys.executable, "-m", "pipelines", "run", "recycle", "smoke", "--ray", "none", "--tracking", "none"]
SMOKE: Recycle = PRESETS["smoke"]
TINY: Recycle = PRESETS["tiny"]
BASE = call(pretrained, model=OpenClip())


def folds(study: Recycle, origins: list[Origin]) -> list[Fold]:
    points = draw(study.space, study.trials, seed=study.seed)
    return [Fold(study.task, name, BASE, origins, points, study.recipe, study.seed) for name in list(study.task.domains)[: study.hold_out]]


def keys(nodes: list[Node]) -> list[str]:
    prints = Fingerprints()
    return [prints.key(node) for node in nodes]


def titled(plan: Plan, words: str) -> list[Node]:
    return [node for node in plan.nodes() if node.fn is train and node.title.startswith(words)]


def test_every_pair_of_start_and_model_comes_once() -> None:
    """4 auxiliary tasks of 4 models, 20 runs: 5 starts, 4 times each, each time from another model; golden."""
    places = [assigned(run, [4] * 4) for run in range(20)]
    assert places == [
        (0, 0), (1, 1), (2, 2), (3, 3), (4, 0), (0, 0), (1, 2), (2, 3), (3, 0), (4, 1), (0, 0), (1, 3), (2, 0), (3, 1), (4, 2),
        (0, 0), (1, 0), (2, 1), (3, 2), (4, 3),
    ]  # fmt: skip
    assert Counter(i for i, _ in places) == dict.fromkeys(range(5), 4)
    assert all({k for i, k in places if i == task} == {0, 1, 2, 3} for task in range(1, 5))


def test_auxiliary_models_know_neither_the_held_out_domain_nor_the_target() -> None:
    plans = [replace(TINY, hold_out=1), replace(TINY, hold_out=4), replace(TINY, task=tasks.Styles(n=70, steps=9)), replace(TINY, trials=3)]
    found = [set(keys(titled(study.plan(), "fine-tune "))) for study in plans]
    assert len(found[0]) == 4 and all(other == found[0] for other in found)
    moved = set(keys(titled(replace(TINY, seed=1).plan(), "fine-tune ")))
    assert not moved & found[0]


def test_no_image_of_a_style_is_in_another(tmp_path: Path) -> None:
    domains, local = tasks.Styles(n=200).domains, Local(str(tmp_path))
    assert len(Mixture(tuple(domains.values())).open(local)) == 1797 + 3 * 200  # refuses ids that appear twice
    for name, data in domains.items():
        assert apart([data], [other for others, other in domains.items() if others != name], run=local).rows[0]["auxiliary"] >= 200


def test_without_auxiliaries_recycling_is_diwa() -> None:
    alone = replace(TINY, auxiliaries=()).plan()
    for fold in folds(TINY, []):
        methods = fold.methods("ge")
        assert keys([methods["Ratatouille uniform"]]) == keys([methods["DiWA uniform"]])
        assert keys([methods["Ratatouille greedy"]]) == keys([methods["DiWA greedy"]])
        assert keys([methods["inter-training"]]) == keys([methods["fusing"]]) == keys([methods["ERM"]])
    shared = set(keys(titled(alone, "pretrained ")))
    assert len(shared) == 10 and shared <= set(keys(TINY.plan().nodes()))


def test_the_first_of_the_recycled_runs_is_one_from_the_pretrained_model() -> None:
    origins = [Origin(name, [call(towers, model=call(pretrained, model=OpenClip(name)))]) for name in "abcd"]
    fold = folds(replace(TINY, trials=10), origins)[0]
    assert [run in fold.plain for run in fold.recycled] == [j % 5 == 0 for j in range(10)]
    for j, run in enumerate(fold.recycled):
        if j % 5:
            probe = run.arguments["init"]
            assert (probe.arguments["params"], probe.arguments["steps"]) == ("head.*", TINY.recipe.lp_steps)
            assert probe.arguments["update"] == run.arguments["update"] and "params" not in run.arguments
            assert probe.arguments["init"].arguments["model"] is origins[j % 5 - 1].models[0]
            assert probe.arguments["init"].arguments["head"] is fold.probe
    assert len({*fold.plain, *fold.recycled, *fold.averaged, *fold.fused}) == 10 + 8 + 10 + 10


def value(node: Any, run: Local, known: dict[Node, Any]) -> Any:
    """What a node computes, in this process."""
    if isinstance(node, list | tuple):
        return type(node)(value(item, run, known) for item in node)
    if not isinstance(node, Node):
        return node
    if node not in known:
        given = {name: value(item, run, known) for name, item in node.arguments.items()}
        known[node] = node.fn(**given, **({"run": run} if "run" in inspect.signature(node.fn).parameters else {}))
    return known[node]


def test_auxiliary_models_that_are_the_pretrained_one_change_nothing(tmp_path: Path) -> None:
    study = replace(SMOKE, trials=3, recipe=Recipe(probe_steps=2, lp_steps=0, every=2))
    fold, run, known = folds(study, [Origin("same", [call(towers, model=BASE)])])[0], Local(str(tmp_path)), {}
    assert fold.recycled[0] is fold.plain[0] and fold.recycled[1] is not fold.plain[1]
    for one, other in zip(fold.recycled, fold.plain, strict=True):
        left, right = (dict(value(node, run, known).tensors()) for node in (one, other))
        assert {key: array.tobytes() for key, array in left.items()} == {key: array.tobytes() for key, array in right.items()}


@dataclass(frozen=True)
class Parts(tasks.Domains):
    """Parts of the digits as domains."""

    names: tuple[str, ...] = ("a", "b")
    steps: int = 4
    classes: tuple[str, ...] = tasks.SMOKE.classes
    prompts: tuple[str, ...] = ("{}",)

    @property
    def name(self) -> str:
        return "parts"

    @property
    def domains(self) -> Mapping[str, Dataset]:
        count = len(self.names)
        return {name: Sample(Split(Digits(), i / count, (i + 1) / count), 40) for i, name in enumerate(self.names)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task": Parts(names=("alone",))}, "parts has 1 domain: one is held out and the others train"),
        ({"task": Parts(names=())}, "parts has 0 domain"),
        ({"hold_out": 0}, "hold_out is 0"),
        ({"hold_out": 5}, "hold_out is 5"),
        ({"trials": 1}, "trials is 1: an average needs at least two runs"),
        ({"task": Parts(), "auxiliaries": (tasks.GARMENTS, tasks.SMOKE)}, "auxiliary data that contains the target: digits trains on images of a"),
        ({"task": tasks.PACS(), "auxiliaries": (tasks.Pooled(tasks.VLCS()), tasks.Pooled(tasks.PACS()))}, "PACS trains on images of art_painting"),
        ({"models": 0}, "models is 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        replace(TINY, **change).plan()
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("knobs", [{"every": 0}, {"probe_steps": -1}, {"lp_steps": -1}])
def test_a_stage_without_length_is_refused(knobs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"recipe: every .*: give 1 or more steps between two looks at validation, and 0 or more of each probe"):
        Recipe(**knobs)  # type: ignore[arg-type]


def run(store: Path, *words: str) -> subprocess.CompletedProcess[str]:
    cache = {**os.environ, "STOCKPOT_CACHE": str(store.parent / "cache")}
    return subprocess.run([*RUN, "--store", str(store), *words], env=cache, capture_output=True, text=True, timeout=300)


def test_a_target_among_the_auxiliary_images_stops_the_study(tmp_path: Path) -> None:
    """Renamed copies have other ids: only their pixels tell. No run starts from what has seen them, and nothing is published."""
    examples = Sample(Digits(), 40).open(Local(str(tmp_path)))
    for index in range(8):
        (tmp_path / "stolen" / f"class{index % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(examples.images([index])[0]).save(tmp_path / "stolen" / f"class{index % 2}" / f"{index}.png")
    own = f"[{{class_path: Own, init_args: {{url: {tmp_path / 'stolen'}, steps: 2, held_out_share: 0.2, test_share: 0.2}}}}]"
    done = run(tmp_path / "store", "--auxiliaries", own)
    assert done.returncode == 5, done.stdout + done.stderr
    assert "the auxiliary data contains the target: its image class" in done.stdout + done.stderr
    made = {path.name.partition("-")[0] for path in (tmp_path / "store").iterdir() if (path / "record.json").exists()}
    assert "train" in made and not made & {"apart", "recycled"}
    assert not list((tmp_path / "store").rglob("index.html"))


def test_what_a_store_holds_is_recycled(tmp_path: Path) -> None:
    """What descends from the base and never saw the target; afterwards everything is there, although the store holds more models than before."""
    kitchen = Kitchen(tmp_path)
    study = replace(SMOKE, found=Stored(), trials=3)
    with pytest.raises(ValueError, match="nothing"):
        kitchen.pinned(study.plan())
    of_garments, of_target = (
        call(train, init=named(task, BASE), data=data, objective=CrossEntropy(), update=AdamW(batch=8), steps=1, label=task.name)
        for task, data in ((SMOKE.auxiliaries[0], SMOKE.auxiliaries[0].train), (SMOKE.task, SMOKE.task.domains["textured"]))
    )
    assert kitchen.cook(Plan({"auxiliary": of_garments, "target": of_target})).complete
    plan = study.plan()
    starts = [node for node in plan.nodes() if node.title.startswith("start at towers of stored")]
    assert len(starts) == 2
    wanted = Plan({f"start {i}": node for i, node in enumerate(starts)})
    assert kitchen.cook(wanted).complete
    assert len({kitchen.key(node) for node in starts}) == 1  # one member, which takes every turn: the model that saw the target is none
    assert kitchen.cook(wanted, Refuses()).complete
