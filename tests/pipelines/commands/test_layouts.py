"""`stockpot doctor TASK`: what lies where a task expects it, what is missing, and what a model makes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from components.data.imagenet import synsets
from components.models.openclip import imagenet
from pipelines.commands import doctor, layouts
from pipelines.commands.models import scratch
from pipelines.tasks import PACS, VLCS, ImageNet
from tests.components.data.pictures import class_folders


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image of each class of ImageNet, in train and in val, and of R."""
    root = tmp_path_factory.mktemp("miniature")
    for folder, kind in (("train", "imagenet"), ("val", "imagenet"), ("r", "imagenet-r")):
        for k, name in enumerate(synsets(kind)):
            (root / folder / name).mkdir(parents=True)
            Image.new("RGB", (4, 4), (k % 256, k // 256, len(folder))).save(root / folder / name / "a.png")
    return root


@pytest.fixture
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the 80, which take a minute."""
    monkeypatch.setattr("pipelines.tasks.imagenet.imagenet", lambda: (imagenet()[0], imagenet()[1][:1]))


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[str]]:
    code = doctor.main([str(word) for word in words])
    return code, capsys.readouterr().out.splitlines()


def test_fewer_images_than_were_published_are_told_and_the_rest_with_them(miniature: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = told(capsys, "ImageNet", "--task.url", miniature, "--shift_urls", f"{{R: {miniature}/r}}")
    assert code == 2 and lines[-1] == "2 of 4 checks failed"
    assert lines[0] == f"ok    {'train':<23} 1,000 images of 1,000 classes, 1 of each"
    assert lines[1].startswith("FAIL  ImageNet") and "1,000 images, 50,000 were published; complete the download" in lines[1]
    assert lines[2].startswith("FAIL  R") and "200 images, 30,000 were published" in lines[2]
    assert "1,000 of the task: tench, goldfish" in lines[3] and "80 prompts; 2 names stand twice (missile, sunglasses)" in lines[3]
    assert "ViT-B-32 63.4 %" in lines[4] and "arXiv:2212.04089" in lines[4]


def test_all_is_well_and_a_model_answers_a_sample(
    miniature: Path, few_prompts: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "PUBLISHED", {("ImageNet", "R"): 200})
    words = ["--url", miniature, "--shift_urls", f"{{R: {miniature}/r}}", "--model", "stockpot-tiny", "--sample", 40]
    code, lines = told(capsys, "ImageNet", *words)
    assert code == 0 and lines[-1] == "everything is there", lines
    assert "200 images of 200 classes of a head of 1,000, 1 of each" in lines[2]
    assert [line.split()[:3] for line in lines if "of 40 images" in line] == [["ok", "zero-shot", "ImageNet"], ["ok", "zero-shot", "R"]]


def test_accuracy_far_below_what_was_published_is_a_failure(
    miniature: Path, few_prompts: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a shift of labels looks like: a model that should be right does not even come near."""
    monkeypatch.setattr(layouts, "ANCHORS", {"stockpot-tiny": 0.9})
    task = ImageNet(str(miniature))
    with scratch() as run:
        codes = layouts.measured(task, {"ImageNet": task.test}, layouts.Options("stockpot-tiny", "openai", 40), run)
    assert codes == [2] and "where 90.0 % was published: labels do not fit the class names" in capsys.readouterr().out


def test_domains_and_classes_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for domain in PACS().names:
        class_folders(tmp_path / domain, {"dog": 3, "horse": 2})
    code, lines = told(capsys, "PACS", "--url", tmp_path)
    assert code == 0 and f"ok    {'sketch':<23} 5 images of 2 classes, 2 to 3 of each" in lines and "2 of the folders: dog, horse" in lines[4]
    code, lines = told(capsys, "PACS", "--url", tmp_path, "--classes", "dog,horse,cat")
    assert code == 2 and "the task names 3 classes, the data has 2" in lines[4]
    shutil.rmtree(tmp_path / "photo")
    code, lines = told(capsys, "PACS", "--url", tmp_path)
    assert code == 2 and sum("domain photo has 0 class folders" in line for line in lines) == 5


def test_published_counts_are_asked_of_the_domains_that_have_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {domain for task, domain in layouts.PUBLISHED if task == "VLCS"} == set(VLCS().names)
    for domain in VLCS().names:
        class_folders(tmp_path / domain, {"bird": 1, "car": 1})
    assert "2 images, 3,282 were published" in told(capsys, "VLCS", "--url", tmp_path)[1][2]


def test_folders_of_ones_own_and_what_only_opening_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = told(capsys, "Own", "--url", class_folders(tmp_path / "own", {"a": 4, "b": 6}))
    assert code == 0 and "10 images of 2 classes, 4 to 6 of each" in lines[0]
    code, lines = told(capsys, "RotatedMNIST", "--model", "stockpot-tiny", "--sample", "20")
    assert code == 0 and len([line for line in lines if "of 20 images" in line]) == 6, lines


def test_what_is_no_task_and_no_field_is_told() -> None:
    with pytest.raises(ValueError, match="'Imagenet' is no study and no task; did you mean 'ImageNet'"):
        doctor.main(["Imagenet"])
    with pytest.raises(ValueError, match="unknown flag --rul; did you mean '--url'"):
        doctor.main(["PACS", "--rul", "x"])
    with pytest.raises(ValueError, match="one word too many"):
        doctor.main(["PACS", "tiny"])
    with pytest.raises(ValueError, match="'V3' is no test set of its classes; there are V2, Sketch, R, A, ObjectNet"):
        doctor.main(["ImageNet", "--shift_urls", "{V3: x}"])
