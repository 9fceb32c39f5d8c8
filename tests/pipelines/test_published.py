"""The table of datasets: its prompts are those that were published, and a task of it takes them."""

from __future__ import annotations

import hashlib

import pytest

from components.data import Folder
from pipelines.tasks import EIGHT, NINE, SUPPORTED, Published
from pipelines.tasks.published import TABLE

# sha256 of the lines of data/prompts.md in openai/CLIP at d05afc43 (SVHN: those of MNIST), and how many they are
GOLDEN = {
    "Cars": (8, "255ecc632c41182c"), "DTD": (8, "1f6888d2130f62a4"), "EuroSAT": (3, "9bc85d9f1798d03b"), "GTSRB": (3, "a6794061485dcfa2"),
    "KITTI": (1, "44136fa355b3678a"), "MNIST": (1, "c0341e0a1fdfd8fb"), "RESISC45": (18, "8f390b8578e5c3bf"), "SUN397": (2, "c97a3d1ad5819800"),
    "SVHN": (1, "c0341e0a1fdfd8fb"), "CIFAR10": (18, "9bbf912e1144ca4c"), "CIFAR100": (18, "9bbf912e1144ca4c"), "STL10": (2, "c97a3d1ad5819800"),
    "Food101": (1, "77a79bac7d9cf25b"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_the_prompts_are_the_published_ones(name: str) -> None:
    prompts = TABLE[name].prompts
    assert (len(prompts), hashlib.sha256("\n".join(prompts).encode()).hexdigest()[:16]) == GOLDEN[name]
    assert all(prompt.count("{}") == 1 for prompt in prompts)


def test_the_experiments_are_rows_of_the_table() -> None:
    assert [task.name for task in NINE if task.name != "KITTI"] == [task.name for task in EIGHT]
    assert {task.name for task in (*NINE, *SUPPORTED)} == set(TABLE) and len(SUPPORTED) == 4
    cars = EIGHT[0]
    assert cars.prompts == TABLE["Cars"].prompts and cars.test == Folder("data/cars/test") and not cars.shifts
    assert NINE[4].classes == TABLE["KITTI"].classes
    assert Published("x", dataset="DTD", prompts=("{}",), classes=("a", "b")).prompts == ("{}",)
