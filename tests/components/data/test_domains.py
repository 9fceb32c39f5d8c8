"""Folders of domains and the tables of WILDS in miniature: labels, groups and parts as published, and what is refused."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.data import CameraTraps, Domain, LandUse, Mixture, Split
from components.data.wilds import LAND_USES, OTHER, REGIONS
from components.metrics import WorstGroup
from components.predictions import Predictions
from components.types import DataError, Local
from tests.components.data.pictures import class_folders

PACS = ("art_painting", "photo")


def table(path: Path, columns: str, *rows: tuple[Any, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([columns.split(), *rows])


def picture(path: Path, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (colour, 0, 0)).save(path)


@pytest.fixture
def pacs(tmp_path: Path) -> Path:
    for domain in PACS:
        class_folders(tmp_path / "pacs" / domain, {"dog": 3, "horse": 2})
    (tmp_path / "pacs" / "left over").mkdir()
    return tmp_path / "pacs"


def test_domains_have_their_images_under_ids_of_their_own(pacs: Path, run: Local) -> None:
    art, photo = (Domain(str(pacs), name, PACS) for name in PACS)
    both = Mixture((art, photo)).open(run)
    assert len(both) == 10 and both.classes == ("dog", "horse") and both.labels.tolist() == [0, 0, 0, 1, 1] * 2
    assert {name.split("/")[0] for name in both.ids} == set(PACS)
    assert len(Split(art, 0.0, 0.5).open(run)) + len(Split(art, 0.5, 1.0).open(run)) == 5


def test_domains_that_do_not_agree_are_told(pacs: Path, run: Local) -> None:
    (pacs / "photo" / "horse").rename(pacs / "photo" / "elephant")
    with pytest.raises(ValueError, match=r"photo has other classes: 1 of 2 classes are missing, first horse; 1 are none of them, first elephant"):
        Domain(str(pacs), "art_painting", PACS).open(run)
    shutil.rmtree(pacs / "photo")
    with pytest.raises(ValueError, match="domain photo has 0 class folders with images; there are the domains art_painting, left over"):
        Domain(str(pacs), "art_painting", PACS).open(run)


@pytest.fixture
def cameras(tmp_path: Path) -> Path:
    rows = [(0, "train", 7, 0, "a.jpg"), (1, "train", 7, 2, "b.jpg"), (2, "id_test", 7, 2, "c.jpg"), (3, "test", 9, 1, "d.jpg")]
    table(tmp_path / "metadata.csv", "n split location_remapped y filename", *rows)
    table(tmp_path / "categories.csv", "y category_id name", (0, 0, "empty"), (1, 2, "puma concolor"), (2, 3, "Bos taurus"), (99999, 4, "none"))
    for row in rows:
        picture(tmp_path / "train" / str(row[4]))
    return tmp_path


def test_camera_traps_have_parts_names_and_locations(cameras: Path, run: Local) -> None:
    train = CameraTraps(str(cameras), "train").open(run)
    assert train.ids.tolist() == ["train/a.jpg", "train/b.jpg"] and train.labels.tolist() == [0, 2]
    assert train.classes == ("empty", "puma concolor", "bos taurus")  # of all parts: none of class 1 trains
    test = CameraTraps(str(cameras), "test").open(run)
    assert test.groups is not None and (test.labels.tolist(), test.groups.tolist()) == ([1], [9])
    table(cameras / "labels.csv", "y category_id name english", (1, 2, "puma concolor", "Cougar"))
    assert CameraTraps(str(cameras), "test").open(run).classes == ("empty", "cougar", "bos taurus")


def test_the_labels_of_images_that_cannot_be_read_are_left_out_with_them(cameras: Path, run: Local) -> None:
    (cameras / "train" / "a.jpg").write_bytes(b"no image")
    train = CameraTraps(str(cameras), "train", bad=0.5).open(run)
    assert train.ids.tolist() == ["train/b.jpg"] and train.labels.tolist() == [2] and train.skipped[0].startswith("train/a.jpg")


@pytest.fixture
def land(tmp_path: Path) -> Path:
    table(tmp_path / "country_code_mapping.csv", "name alpha-3 region", ("Chad", "TCD", "Africa"), ("Peru", "PER", "Americas"), ("Ice", "ATA", ""))
    rows = [
        ("train", "zoo", "TCD", "2012-12-31T23"), ("train", "zoo", "TCD", "2013-01-01T00"), ("seq", "zoo", "TCD", "2010-01-01T00"),
        ("val", "dam", "PER", "2010-05-01T00"), ("val", "dam", "PER", "2015-05-01T00"), ("test", "dam", "PER", "2015-05-01T00"),
        ("test", "barn", "TCD", "2011-05-01T00"), ("test", "barn", "ATA", "2016-01-01T00"),
        ("test", "port", "XKX", "2017-01-01T00"), ("test", "airport", "PER", "2017-01-01T00"),
    ]  # fmt: skip
    table(tmp_path / "rgb_metadata.csv", "split category country_code timestamp", *rows)
    for number in range(len(rows)):
        picture(tmp_path / "images" / f"rgb_img_{number}.png", number)
    return tmp_path


def test_land_use_is_divided_by_year_and_grouped_by_region(land: Path, run: Local) -> None:
    parts = {part: LandUse(str(land), part).open(run) for part in ("train", "id_val", "id_test", "val", "test")}
    numbers = {part: [int(image[0, 0, 0]) for image in found.images(range(len(found)))] for part, found in parts.items()}
    assert numbers == {"train": [0], "id_val": [3], "id_test": [6], "val": [4], "test": [7, 8, 9]}
    test = parts["test"]
    assert test.labels.tolist() == [LAND_USES.index(name) for name in ("barn", "port", "airport")] and len(LAND_USES) == 62
    assert test.groups is not None and [REGIONS[group] for group in test.groups] == ["Other", "Other", "Americas"]
    right = Predictions(test.ids, test.labels, np.eye(62, dtype=np.float32)[[0, 0, 0]], test.groups)
    assert WorstGroup(ignored=(OTHER,))(right).value == 1.0 and WorstGroup()(right).value == 0.0


def test_tables_that_miss_or_do_not_fit_are_told(land: Path, cameras: Path, run: Local) -> None:
    (land / "images" / "rgb_img_9.png").unlink()
    with pytest.raises(ValueError, match=r"1 of 3 images are missing, first images/rgb_img_9\.png; complete the download"):
        LandUse(str(land)).open(run)
    (land / "rgb_metadata.csv").write_text("split,category,country_code,timestamp\ntest,moon,TCD,2017\n")
    with pytest.raises(DataError, match="the category 'moon' in row 0, none of the 62"):
        LandUse(str(land)).open(run)
    (land / "rgb_metadata.csv").write_text("split,category\n")
    with pytest.raises(ValueError, match=r"rgb_metadata\.csv has no column country_code; it has split, category"):
        LandUse(str(land)).open(run)
    (cameras / "metadata.csv").unlink()
    with pytest.raises(ValueError, match=r"no metadata\.csv; give the folder that WILDS unpacks"):
        CameraTraps(str(cameras)).open(run)
