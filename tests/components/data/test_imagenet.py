"""ImageNet and its kin in miniature: the order of classes, which columns of a head answer, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.data.imagenet import LISTS, MAPPINGS, Numbered, ObjectNet, Synsets, synsets
from components.data.split import Mixture, Split
from components.evaluate import aligned, answers, asked, counted, predict, projected
from components.metrics import CalibrationError, Top1
from components.models import build
from components.models.heads import zero_shot
from components.predictors.head import Head
from components.types import DataError, Dataset, Local

NAMES = tuple(f"thing {k}" for k in range(1000))
# a fragment of the published mapping: folder, ObjectNet's name, ImageNet's words, and the row of ImageNet's head
MAPPED = [("alarm_clock", "Alarm clock", ["analog clock", "digital clock"], [409, 530]), ("banana", "Banana", ["banana"], [954]),
          ("chair", "Chair", ["barber chair", "folding chair", "rocking chair, rocker"], [423, 559, 765])]  # fmt: skip


def picture(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (colour % 256, colour // 4 % 256, 99)).save(path)


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image of each class, or of each number; of ObjectNet two, and a class that ImageNet has not."""
    root = tmp_path_factory.mktemp("family")
    for k, name in enumerate(synsets()):
        picture(root / "val" / name / "a.png", k)
    for kind in ("imagenet-r", "imagenet-a"):
        for name in synsets(kind):
            picture(root / kind / name / "a.png", synsets().index(name))
    for k in range(1000):
        picture(root / "v2" / str(k) / "a.png", k)
    for folder, _, _, rows in MAPPED:
        for row in rows[:2]:
            picture(root / "objectnet" / "images" / folder / f"{row}.png", row)
    picture(root / "objectnet" / "images" / "squeegee" / "1.png", 1)
    mappings(root / "objectnet" / "mappings")
    return root


def mappings(folder: Path) -> None:
    """The four files, with lines in another order than the rows of the head, as those of the challenge are."""
    words = [word for _, _, words, _ in MAPPED for word in words]
    rows = [row for _, _, _, rows in MAPPED for row in rows]
    lines = sorted(words)
    contents = [
        {"squeegee": "Squeegee", **{folder: name for folder, name, _, _ in MAPPED}},
        {name: "; ".join(words) for _, name, words, _ in MAPPED},
        {str(row): lines.index(word) for word, row in zip(words, rows, strict=True)},
    ]
    folder.mkdir(parents=True)
    for name, content in zip(MAPPINGS, contents, strict=False):
        (folder / name).write_text(json.dumps(content))
    (folder / MAPPINGS[3]).write_text("\n".join(lines))


@pytest.fixture(scope="session")
def wide(base: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return zero_shot(base, NAMES, ("a photo of {}",), run=Local(str(tmp_path_factory.mktemp("wide"))))


def test_the_lists_are_sorted_and_agree_with_timm_s_indices() -> None:
    from timm.data import ImageNetInfo

    assert len(synsets()) == 1000 and list(synsets()) == sorted(synsets()) == ImageNetInfo().label_names()
    import timm

    for kind in ("imagenet-r", "imagenet-a"):
        listed = (Path(timm.__file__).parent / "data" / "_info" / LISTS[kind].replace("synsets", "indices")).read_text().split()
        assert [synsets().index(name) for name in synsets(kind)] == [int(row) for row in listed] and len(listed) == 200


def test_class_folders_are_numbered_by_the_published_order(family: Path, run: Local) -> None:
    found = Synsets(str(family / "val")).open(run)
    assert found.labels.tolist() == list(range(1000)) and found.classes == synsets() and not found.columns
    assert found.images([77])[0][0, 0].tolist() == [77, 19, 99]


def test_v2_is_numbered_by_the_names_of_its_folders(family: Path, run: Local) -> None:
    """Sorted by name, folder 10 comes before folder 2: an image folder's own labels are wrong for nearly all of them."""
    found = Numbered(str(family / "v2")).open(run)
    labels = dict(zip(found.ids.tolist(), found.labels.tolist(), strict=True))
    assert {folder: labels[f"{folder}/a.png"] for folder in ("0", "1", "10", "2", "999")} == {"0": 0, "1": 1, "10": 10, "2": 2, "999": 999}


@pytest.mark.parametrize("kind", ["imagenet-r", "imagenet-a"])
def test_a_set_of_200_classes_takes_its_columns_before_the_largest(kind: Any, family: Path, wide: Any, run: Local) -> None:
    part, rows = Synsets(str(family / kind), kind), [synsets().index(name) for name in synsets(kind)]
    found, whole = predict(wide, part, run=run), predict(wide, Synsets(str(family / "val")), run=run)
    assert found.logits.shape == (200, 200) and found.labels.tolist() == list(range(200)) and found.classes == synsets(kind)
    assert found.logits == pytest.approx(whole.logits[rows][:, rows], abs=1e-4)  # the same images stand in both folders
    unmasked = whole.logits[rows].argmax(axis=1)
    masked = found.logits.argmax(axis=1)
    assert any(unmasked[i] not in rows for i in range(200)) and all(masked < 200)
    confidence = CalibrationError()(found).value  # of a softmax over 200
    assert confidence != pytest.approx(CalibrationError()(whole).value, abs=1e-6)
    order = np.arange(200)[::-1].copy()
    assert counted(wide, part, order=order, needed=0, run=run).right.sum() == Top1()(found).correct


def test_objectnet_takes_the_largest_of_the_mapped_classes(family: Path, wide: Any, run: Local) -> None:
    data = ObjectNet(str(family / "objectnet"))
    found, listing = predict(wide, data, run=run), data.listing(run)
    assert listing.classes == ("alarm clock", "banana", "chair") and listing.columns == ((409, 530), (954,), (423, 559, 765))
    assert listing.counts() == {"alarm clock": 2, "banana": 1, "chair": 2} and listing.notes[0].startswith("1 images are of classes")
    assert found.labels.tolist() == [0, 0, 1, 2, 2] and found.logits.shape == (5, 3)
    logits = np.array([[0.0] * 1000], np.float32)
    logits[0, [530, 559, 1]] = 3, 2, 9
    assert projected(logits, listing.columns).tolist() == [[3, 0, 2]]


def test_the_border_of_objectnet_goes_only_where_asked(family: Path, run: Local) -> None:
    whole, inner = ObjectNet(str(family / "objectnet")).open(run), ObjectNet(str(family / "objectnet"), crop=True).open(run)
    assert (whole.images([0])[0].shape, inner.images([0])[0].shape) == ((8, 8, 3), (4, 4, 3))
    assert whole.digest != inner.digest


def test_parts_of_a_set_know_their_columns(family: Path, wide: Any, run: Local) -> None:
    data = Synsets(str(family / "imagenet-r"), "imagenet-r")
    half = Mixture((Split(data, 0.0, 0.3), Split(data, 0.3, 0.5))).open(run)
    assert half.columns == data.open(run).columns and answers(build(wide), Head(), half, run).logits.shape == (len(half), 200)


def test_a_head_of_its_own_classes_or_of_others(family: Path, wide: Any, zero: Any, run: Local) -> None:
    data: Dataset = Synsets(str(family / "imagenet-a"), "imagenet-a")
    examples = data.open(run)
    own = zero_shot(zero, synsets("imagenet-a"), ("{}",), run=run)
    assert predict(own, data, run=run).logits.shape == (200, 200)
    with pytest.raises(ValueError, match="the data has 200 of 1000 classes, the head 10: build one of all 1000"):
        asked(examples, build(zero))
    assert aligned(examples, NAMES).tolist() == [synsets().index(name) for name in synsets("imagenet-a")]  # what a head of 1000 trains on
    with pytest.raises(ValueError, match="alarm clock is several classes of the head"):
        aligned(ObjectNet(str(family / "objectnet")).open(run), NAMES)


def test_an_incomplete_download_is_told(family: Path, tmp_path: Path, run: Local) -> None:
    partial = shutil.copytree(family / "imagenet-r", tmp_path / "r")
    shutil.rmtree(partial / synsets("imagenet-r")[7])
    with pytest.raises(ValueError, match=f"1 of 200 class folders are missing, first {synsets('imagenet-r')[7]}"):
        Synsets(str(partial), "imagenet-r").open(run)
    with pytest.raises(ValueError, match="801 of 1000 class folders are missing"):
        Synsets(str(partial)).open(run)
    (partial / synsets("imagenet-r")[7]).mkdir()
    with pytest.raises(ValueError, match="1 of 200 classes have no images, first n"):
        Synsets(str(partial), "imagenet-r").open(run)
    with pytest.raises(ValueError, match=r"1000 of 1000 folders 0 to 999 are missing, first 0, 1, 10.*200 are none of them"):
        Numbered(str(partial)).open(run)


def test_mappings_that_are_missing_or_do_not_fit_are_told(family: Path, tmp_path: Path, run: Local) -> None:
    root = shutil.copytree(family / "objectnet", tmp_path / "objectnet")
    shutil.rmtree(root / "images" / "banana")
    with pytest.raises(ValueError, match="1 of 3 classes have no images, first banana; complete the download"):
        ObjectNet(str(root)).open(run)
    (root / "mappings" / MAPPINGS[3]).write_text("banana\n")
    with pytest.raises(DataError, match="mapping files do not fit together"):
        ObjectNet(str(root)).open(run)
    (root / "mappings" / MAPPINGS[0]).unlink()
    with pytest.raises(ValueError, match=r"no folder_to_objectnet_label\.json"):
        ObjectNet(str(root)).open(run)
