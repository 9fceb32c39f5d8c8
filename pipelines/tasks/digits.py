"""The embedded real task, scikit-learn's digits, and Fashion-MNIST from Debian's package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.data import Corrupted, Digits, Idx, Invert, Sample, Split
from components.data.microworld import Rendered
from components.types import Dataset
from pipelines.tasks.base import RENDERED, Parted, Task, corrupted


@dataclass(frozen=True)
class Handwriting(Parted):
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
    def shifts(self) -> Mapping[str, Dataset]:
        typefaces = Rendered(n=self.limit or 500, seed=7, digits=1.0, garments=0.0, shapes=0.0, fonts="held_out", style="plain")
        return {**(corrupted(self.test) if not self.limit else {"invert": Corrupted(self.test, Invert())}), "typefaces": typefaces}

    def part(self, low: float, high: float) -> Dataset:
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
