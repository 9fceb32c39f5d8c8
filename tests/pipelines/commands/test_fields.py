"""Fields from YAML and flags: what is written reads back as the same study, and nothing foreign gets in."""

from __future__ import annotations

import sys
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.data import Digits, Folder, Split
from components.types import Dataset
from infra.dag import GPU, Fingerprints, Resources
from infra.space import LogUniform
from pipelines import tasks
from pipelines.commands.fields import family, made, near, written
from pipelines.commands.studies import chosen, presets, studies

EVERY = [(study, preset) for study in studies() for preset in presets(study)]


def study_of(*words: str) -> Any:
    return chosen(words, "run").study


def identity(study: Any) -> dict[str, str]:
    fingerprints = Fingerprints()
    return {name: fingerprints.of(node) for name, node in study.plan().targets.items()}


@pytest.mark.parametrize(("study", "preset"), EVERY)
def test_what_print_config_writes_gives_the_same_study(study: str, preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        chosen([study, preset, "--print_config"], "run")
    file = tmp_path / "study.yaml"
    file.write_text(capsys.readouterr().out)
    original = presets(study)[preset]
    for base in ("smoke", preset):  # everything is in the file, so the preset it is laid over does not matter
        again = study_of(study, base, "--config", str(file))
        assert again == original and identity(again) == identity(original)


@pytest.mark.parametrize(("study", "preset"), EVERY)
def test_flags_go_over_the_file_wherever_they_stand(study: str, preset: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(written(presets(study)[preset])["init_args"], sort_keys=False))
    owner = "update" if hasattr(presets(study)[preset], "update") else "recipe.update"
    one = study_of(study, preset, "--seed", "5", "--config", str(file), f"--{owner}.batch", "8")
    assert (one.seed, attrgetter(owner)(one).batch) == (5, 8)
    assert identity(one) == identity(study_of(study, preset, "--seed=5", f"--{owner}.batch=8"))


def test_a_class_named_anew_keeps_nothing_of_the_one_before() -> None:
    task = study_of("soup", "smoke", "--task", "Own", "--task.url", "./flowers").task
    assert task == tasks.Own("./flowers")


@pytest.mark.parametrize(
    "words",
    [
        ["--task", "Own", "--task.url", "./x", "--task.shift_urls.sketch", "./s"],
        ["--task", "Own('./x', shift_urls={'sketch': './s'})"],
        ["--task", "{class_path: Own, init_args: {url: ./x, shift_urls: {sketch: ./s}}}"],
        ["--task=pipelines.tasks.Own", "--task.url=./x", "--task.shift-urls={sketch: ./s}"],
    ],
)
def test_an_object_is_given_in_any_of_four_ways(words: list[str]) -> None:
    assert study_of("soup", "smoke", *words).task == tasks.Own("./x", shift_urls={"sketch": "./s"})


def test_objects_in_objects() -> None:
    study = study_of("pretrain", "smoke", "--data", "Split(Folder('x', bad=0.5), 0, 0.5)")
    assert study.data == Split(Folder("x", bad=0.5), 0, 0.5)


def test_named_tasks_and_spaces_and_single_knobs() -> None:
    study = study_of("soup", "smoke", "--task", "DIGITS", "--space", "CLIP", "--space.update.lr", "LogUniform(1e-5, 1e-3)")
    assert study.task == tasks.DIGITS
    assert study.space == {**tasks.CLIP, "update.lr": LogUniform(1e-5, 1e-3)}
    assert study_of("soup", "--space", "{update.lr: 'LogUniform(1e-5, 1e-3)'}").space == {"update.lr": LogUniform(1e-5, 1e-3)}


def test_text_stays_text_and_dashes_are_underscores() -> None:
    asked = chosen(["soup", "smoke", "--model.name", "123", "--checkpoint-every", "600", "--quiet", "--alphas", "0.1,0.5"], "run")
    assert asked.study.model.name == "123" and asked.study.alphas == (0.1, 0.5)
    assert asked.options.checkpoint_every == 600.0 and asked.options.quiet is True


def test_resources_are_given_by_flags_and_in_yaml_where_on_is_a_word_for_true(tmp_path: Path) -> None:
    (tmp_path / "on.yaml").write_text("on: {gpus: 0.5, workers: 1}\ntrials: 3\n")
    assert chosen(["soup", "smoke"], "run").options.on == GPU
    words = ["--on.gpus", "2", "--on.cpus", "4", "--on.memory", "16e9", "--on.accelerator", "L4", "--on.workers", "2", "--on.exact", "true"]
    assert chosen(["soup", "smoke", *words], "run").options.on == Resources(4, 2, True, 16e9, "L4", 2)
    asked = chosen(["soup", "smoke", "--config", str(tmp_path / "on.yaml"), "--on.cpus", "2"], "run")
    assert asked.options.on == Resources(2, 0.5, False) and asked.study.trials == 3


BAD = [
    (["--on.gpu", "1"], "on: Resources has no field 'gpu'; did you mean 'gpus'"),
    (["--on.gpus", "1.5"], "gpus 1.5: give a whole number"),
    (["--on", "os.system"], "on: os.system is not a class of stockpot"),
    (["--trails", "3"], "--trails; did you mean '--trials'"),
    (["--trials", "many"], "trials: expected a whole number, got 'many'"),
    (["--trials"], "--trials: a value is missing"),
    (["--update.lr", "fast"], "update.lr: expected a number, got 'fast'"),
    (["--update.rate", "1"], "AdamW has no field 'rate'"),
    (["--task", "Onw"], "'Onw' is no Task; did you mean 'Own'"),
    (["--task", "Own"], "task: Own needs url; give --task.url"),
    (["--task", "os.system"], "os.system is not a class of stockpot"),
    (["--task", "Own(open('x'))"], "task.url: expected text, got an object"),
    (["--space.update.lr", "LogUniform"], "space.update.lr: LogUniform needs low, high"),
    (["--space.update.lr", "LogUniform(3, 1)"], "both ends must be positive and in order"),
    (["--space", "CLIPP"], "space: expected a mapping"),
    (["--model", "[1"], "model"),
    (["second"], "one word too many"),
]


@pytest.mark.parametrize(("words", "told"), BAD)
def test_a_bad_flag_is_named(words: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        study_of("soup", "smoke", *words)
    assert "\n" not in str(caught.value)


YAML = [
    ("trials: many", "trials: expected a whole number"),
    ("trails: 3", "unknown field 'trails'; did you mean 'trials'"),
    ("update: {lr: fast}", "update.lr: expected a number"),
    ("task: {class_path: zipapp.Foreign}", "zipapp.Foreign is not a class of stockpot"),
    ("task: zipapp.main", "zipapp.main is not a class of stockpot"),
    ("task: {class_path: Own, init_args: {url: x, shift_urls: {a: {class_path: zipapp.main}}}}", "task.shift_urls.a: expected text, got an object"),
    ("space: {update.lr: {class_path: zipapp.main}}", "zipapp.main is not a class of stockpot"),
    ("task: {class_path: Own, url: x}", "'url' stands beside class_path"),
    ("a: [1,", "not YAML"),
    ("- 1", "holds no fields"),
    ("", "holds no fields"),
]


@pytest.mark.parametrize(("text", "told"), YAML)
def test_a_bad_file_is_named(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=told) as caught:
        study_of("soup", "smoke", "--config", str(file))
    assert "\n" not in str(caught.value) and "zipapp" not in sys.modules


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.yaml: No such file"):
        study_of("soup", "--config", str(tmp_path / "nowhere.yaml"))


def test_help_shows_the_fields_of_the_class_that_was_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        chosen(["soup", "--task", "Own", "--help"], "run")
    shown = capsys.readouterr().out
    assert "\nSoup:\n" in shown and "--task.url TEXT" in shown and "needed" in shown and "--task.limit" not in shown
    assert "<class" not in shown and max(map(len, shown.splitlines())) <= 120


def test_written_objects_are_made_again() -> None:
    study = presets("soup")["paper"]
    assert made(type(study), written(study)) == study
    assert {"Digits": Digits, "Folder": Folder}.items() <= family(Dataset).items()
    assert near("trails", ["trials", "task"]) == "; did you mean 'trials'?"


@pytest.mark.parametrize(
    "words",
    [
        "GARMENTS, Own('./x', steps=5)",
        "[GARMENTS, Own('./x', steps=5)]",
        "[{class_path: Drawn}, {class_path: Own, init_args: {url: ./x, steps: 5}}]",
    ],
)
def test_objects_stand_in_a_row(words: str) -> None:
    assert study_of("patch", "smoke", "--patching", words).patching == (tasks.GARMENTS, tasks.Own("./x", steps=5))


def test_objects_stand_within_others() -> None:
    analogy = study_of("arithmetic", "smoke", "--analogy", "Scaled(SHAPES), SHAPES, Scaled(Own('./x')), Own('./x')").analogy
    assert analogy == (tasks.Scaled(tasks.SHAPES), tasks.SHAPES, tasks.Scaled(tasks.Own("./x")), tasks.Own("./x"))
    assert study_of("soup", "smoke", "--others", "[]").others == ()
    with pytest.raises(ValueError, match=r"others: 'Own\(' cannot be read"):
        study_of("soup", "smoke", "--others", "Own(")
