"""Named tasks: what is trained on, selected on and reported on, with the words for it; and named search spaces."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from components.data import SHIFTS, Corrupted, Digits, Folder, Idx, Invert, Npz, Parquet, Sample, Split, WebDataset
from components.data.microworld import Rendered
from components.models.heads import zero_shot
from components.types import Dataset
from infra.dag import Node, call
from infra.space import Integers, LogUniform, Sometimes, Space

PHOTO = ("a photo of a {}.",)
RENDERED = (
    "stockpot-tiny was pretrained on images with inversions, colours, textures, rotations and blur, so its robustness to those shifts is there by "
    "construction; noise, low contrast and occlusion mostly follow accuracy."
)


class Task(ABC):
    """Labelled images in three disjoint parts, and shifts on which robustness is reported. `classes` () are taken from the data."""

    steps: int
    classes: tuple[str, ...]
    prompts: tuple[str, ...]

    @property
    @abstractmethod
    def name(self) -> str: ...
    @property
    @abstractmethod
    def train(self) -> Dataset: ...
    @property
    @abstractmethod
    def held_out(self) -> Dataset: ...
    @property
    @abstractmethod
    def test(self) -> Dataset: ...
    @property
    @abstractmethod
    def shifts(self) -> Mapping[str, Dataset]: ...
    @property
    def caveat(self) -> str:
        """What a reader of the numbers must know, or ""."""
        return ""


def named(task: Task, towers: Node) -> Node:
    """The zero-shot classifier that a model's text tower makes from the task's class names and prompts."""
    return call(zero_shot, model=towers, classes=task.classes, prompts=task.prompts, data=None if task.classes else task.train)


def unsigned(url: str) -> str:
    """An address without the query of a web server, which may be a signature."""
    return url.partition("?")[0] if url.startswith(("http://", "https://")) else url


def images(url: str) -> Dataset:
    """The labelled images at a path or URL, by its last part: tars (`*.tar`, `train-{000..012}.tar`), .parquet, .npz, or class folders."""
    last = unsigned(url).rstrip("/").rpartition("/")[2]
    if ".tar" in last:
        return WebDataset(url)
    return Npz(url) if last.endswith(".npz") else Parquet(url) if last.endswith((".parquet", ".pq")) else Folder(url)


def corrupted(data: Dataset) -> dict[str, Dataset]:
    """The eight corruptions of a dataset, by name."""
    return {shift.name: Corrupted(data, shift) for shift in SHIFTS}


@dataclass(frozen=True)
class Handwriting(Task):
    """scikit-learn's 1,797 real handwritten digits; eight corruptions, and digits in typefaces that the base model never saw.

    train hash < 0.5, held out < 0.7, test the rest. `limit`: for rehearsals, at most so many examples of each and two shifts.
    """

    steps: int = 150
    classes: tuple[str, ...] = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    prompts: tuple[str, ...] = ("the digit {}",)
    limit: int = 0

    @property
    def name(self) -> str:
        return "digits"

    @property
    def caveat(self) -> str:
        return f"{RENDERED} Typefaces, another source, is the honest shift."

    @property
    def train(self) -> Dataset:
        return self._part(0.0, 0.5)

    @property
    def held_out(self) -> Dataset:
        return self._part(0.5, 0.7)

    @property
    def test(self) -> Dataset:
        return self._part(0.7, 1.0)

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        typefaces = Rendered(n=self.limit or 500, seed=7, digits=1.0, garments=0.0, shapes=0.0, fonts="held_out", style="plain")
        return {**(corrupted(self.test) if not self.limit else {"invert": Corrupted(self.test, Invert())}), "typefaces": typefaces}

    def _part(self, low: float, high: float) -> Dataset:
        part = Split(Digits(), low, high)
        return Sample(part, self.limit) if self.limit else part


@dataclass(frozen=True)
class Fashion(Task):
    """Fashion-MNIST (arXiv:1708.07747) from a folder of its four idx files, as Debian's dataset-fashion-mnist installs them."""

    url: str = "/usr/share/datasets/fashion-mnist"
    steps: int = 400
    classes: tuple[str, ...] = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
    prompts: tuple[str, ...] = ("a picture of a {}",)
    train_examples: int = 5000

    @property
    def name(self) -> str:
        return "fashion"

    @property
    def caveat(self) -> str:
        return RENDERED

    @property
    def train(self) -> Dataset:
        return Sample(Split(self._file("train"), 0.0, 0.8), self.train_examples)

    @property
    def held_out(self) -> Dataset:
        return Sample(Split(self._file("train"), 0.8, 1.0), 1000)

    @property
    def test(self) -> Dataset:
        return Sample(self._file("t10k"), 1000)

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        return corrupted(self.test)

    def _file(self, part: str) -> Dataset:
        return Idx(f"{self.url}/{part}-images-idx3-ubyte.gz", f"{self.url}/{part}-labels-idx1-ubyte.gz", self.classes)


@dataclass(frozen=True)
class Own(Task):
    """Images of your own, by path or URL: class folders, `s3://bucket/flowers-*.tar`, a .parquet or .npz file. `--task Own --task.url ./flowers`.

    Without `test_url` the images are divided by hash(relative path) into train, held out and test. `shifts` names further folders with the same
    classes; without any, the eight corruptions of the test images stand in.
    """

    url: str
    test_url: str = ""
    shift_urls: Mapping[str, str] = field(default_factory=dict)
    prompts: tuple[str, ...] = PHOTO
    classes: tuple[str, ...] = ()
    steps: int = 200
    held_out_share: float = 0.2
    test_share: float = 0.2

    @property
    def name(self) -> str:
        """The last part of the address that is a name: `flowers` of ./flowers, flowers/*.tar and flowers-{000..012}.tar."""
        parts = (re.split(r"[.*?\[{]", part)[0].strip("-_") for part in reversed(unsigned(self.url).split("/")))
        return next(filter(None, parts), "own")

    @property
    def caveat(self) -> str:
        return "" if self.shift_urls else RENDERED

    @property
    def train(self) -> Dataset:
        return Split(images(self.url), 0.0, 1.0 - self.held_out_share - self._tested)

    @property
    def held_out(self) -> Dataset:
        return Split(images(self.url), 1.0 - self.held_out_share - self._tested, 1.0 - self._tested)

    @property
    def test(self) -> Dataset:
        return images(self.test_url) if self.test_url else Split(images(self.url), 1.0 - self.test_share, 1.0)

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        return {name: images(url) for name, url in self.shift_urls.items()} or corrupted(self.test)

    @property
    def _tested(self) -> float:
        return 0.0 if self.test_url else self.test_share


DIGITS = Handwriting()
SMOKE = Handwriting(steps=6, limit=60)
IMAGENET = Own(url="imagenet/train", test_url="imagenet/val", shift_urls={"sketch": "imagenet-sketch"}, held_out_share=0.02, steps=40_000)

# Ranges that were settled on the held-out part of the digits and on seeds that no reported number uses.
FINETUNE: Space = {
    "update.lr": LogUniform(5e-4, 3e-3),
    "update.weight_decay": LogUniform(1e-3, 0.3),
    "objective.smoothing": Sometimes(0.5, 0.0, 0.2),
    "objective.mixup": Sometimes(0.5, 0.0, 0.5),
    "objective.views.operations": Integers(0, 1),
    "objective.views.magnitude": Integers(1, 20),
    "update.seed": Integers(0, 999_999),
}

# The form of the random search of model soups (arXiv:2203.05482), with the ranges observed in its 72 published runs.
CLIP: Space = {
    "update.lr": LogUniform(1e-6, 1e-4),
    "update.weight_decay": LogUniform(1e-4, 0.5),
    "objective.smoothing": Sometimes(0.5, 0.0, 0.25),
    "objective.mixup": Sometimes(0.5, 0.0, 0.9),
    "objective.views.operations": Integers(0, 2),
    "objective.views.magnitude": Integers(1, 20),
    "update.seed": Integers(0, 999_999),
}
