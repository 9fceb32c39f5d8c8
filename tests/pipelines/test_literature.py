"""The tasks of the literature: what the command line makes of them, and that no domain is seen in another."""

from __future__ import annotations

from typing import Any

import pytest

from components.data import Corrupted, Dealt, Digits, Domain, LandUse, Numbered, ObjectNet, Rotate, Split, Synsets, Tinted
from components.metrics import MacroF1, Top1, WorstGroup
from components.models.openclip import pretrained
from components.objectives.classification import CrossEntropy
from components.train import train
from components.updates.sgd import AdamW
from infra.dag import call
from pipelines import tasks
from pipelines.commands.studies import chosen
from pipelines.report.compare import Reported, compare, model
from pipelines.soup import PRESETS, Soup
from pipelines.tasks import named


@pytest.mark.parametrize(
    ("words", "task"),
    [
        (["--task", "ImageNet", "--task.url", "/d", "--task.shift_urls", "{V2: v, R: r}"], tasks.ImageNet("/d", {"V2": "v", "R": "r"})),
        (["--task", "IMAGENET"], tasks.IMAGENET),
        (["--task", "IWildCam", "--task.select", "val"], tasks.IWildCam(select="val")),
        (["--task", "FMoW", "--task.url", "s3://b/fmow"], tasks.FMoW("s3://b/fmow")),
        (["--task", "Published", "--task.url", "/d/dtd", "--task.dataset", "DTD"], tasks.Published("/d/dtd", dataset="DTD")),
    ],
)
def test_the_command_line_names_a_task(words: list[str], task: Any) -> None:
    study = chosen(["soup", "smoke", *words], "plan").study
    assert study.task == task and isinstance(study, Soup)


def test_imagenet_s_parts_are_read_as_each_is_published() -> None:
    task = PRESETS["paper"].task
    assert list(task.shifts) == ["V2", "R", "Sketch", "ObjectNet", "A"] and task.test == Synsets("imagenet/val")
    kinds = [(type(data), getattr(data, "classes", "")) for data in task.shifts.values()]
    assert kinds == [(Numbered, ""), (Synsets, "imagenet-r"), (Synsets, "imagenet"), (ObjectNet, ""), (Synsets, "imagenet-a")]
    assert task.held_out == Split(Synsets("imagenet/train"), 0.98, 1.0) and len(task.classes) == 1000 and len(task.prompts) == 80


def test_each_task_has_its_metric() -> None:
    assert (tasks.FMoW().metric, tasks.IWildCam().metric, tasks.ImageNet().metric) == (WorstGroup(ignored=(5,)), MacroF1(), Top1())
    base = named(tasks.FMoW(), call(pretrained, model=PRESETS["smoke"].model))
    two = [model("a", "zero_shot", base), model("b", "other", base)]
    plan = compare(tasks.FMoW(), two, winner="b", baseline="a", base=base)
    assert "metric" in plan.targets and Reported.of(tasks.FMoW()).metric == WorstGroup(ignored=(5,))
    assert "metric" not in compare(tasks.DIGITS, two, winner="b", baseline="a", base=base).targets


def test_the_environments_are_domainbed_s() -> None:
    coloured, turned = tasks.ColoredMNIST().domains, tasks.RotatedMNIST().domains
    assert coloured == {name: Tinted(Dealt(Digits(), k, 3), share) for k, (name, share) in enumerate({"+90%": 0.1, "+80%": 0.2, "-90%": 0.9}.items())}
    assert turned["0"] == Dealt(Digits(), 0, 6) and turned["75"] == Corrupted(Dealt(Digits(), 5, 6), Rotate(75)) and len(turned) == 6
    assert tasks.PACS("x").domains["photo"] == Domain("x", "photo", ("art_painting", "cartoon", "photo", "sketch"))
    assert [len(task().names) for task in (tasks.PACS, tasks.VLCS, tasks.OfficeHome, tasks.TerraIncognita, tasks.DomainNet)] == [4, 4, 4, 4, 6]
    for names in ((), ("one",), ("one", "one")):
        with pytest.raises(ValueError, match="name at least two folders"):
            tasks.DomainFolders("x", names)


def test_what_trains_and_what_is_tested_are_apart_and_a_leak_is_seen() -> None:
    task = tasks.ColoredMNIST()
    base = named(task, call(pretrained, model=PRESETS["smoke"].model))
    fitting, selecting = task.parts("-90%")
    assert len(fitting) == len(selecting) == 2

    def study(data: Any) -> Any:
        tuned = call(train, init=base, data=data, objective=CrossEntropy(), update=AdamW(), steps=3)
        on = Reported("last", {"-90%": task.domains["-90%"]}, "domain")
        return compare(on, [model("a", "zero_shot", base), model("b", "single", tuned)], winner="b", baseline="a", base=base)

    assert study(fitting[0]).targets
    with pytest.raises(ValueError, match="trained on"):
        study(task.domains["-90%"])


def test_wilds_parts_are_roots_of_their_own() -> None:
    task = tasks.FMoW("x", select="val")
    assert [data.part for data in (task.train, task.held_out, task.test, *task.shifts.values())] == ["train", "val", "id_test", "test"]
    assert task.train.parts() == ((LandUse("x", "train"), 0.0, 1.0),)
