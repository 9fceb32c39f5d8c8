"""Tasks to patch a model on: a written wrong word, another size, counting."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from components.data import Corrupted, Sample, Split
from components.data import Scale as Shrunk
from components.data.microworld import Rendered
from components.data.microworld.counted import CLASSES, COUNTS, Counted
from components.data.typographic import Typographic
from components.types import Dataset
from pipelines.tasks.base import Parted, Task
from pipelines.tasks.digits import Handwriting


class Altered(Task):
    """Another task whose images are altered, with its classes, prompts and parts."""

    task: Task

    @abstractmethod
    def altered(self, data: Dataset) -> Dataset: ...

    @property
    def steps(self) -> int:  # type: ignore[override]
        return self.task.steps

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.task.classes

    @property
    def prompts(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.task.prompts

    @property
    def train(self) -> Dataset:
        return self.altered(self.task.train)

    @property
    def held_out(self) -> Dataset:
        return self.altered(self.task.held_out)

    @property
    def test(self) -> Dataset:
        return self.altered(self.task.test)


@dataclass(frozen=True)
class Attacked(Altered):
    """A task whose images carry the word of another class. The shifts: without the word, another source with one. Kin beside: who follows the word.

    words: in label order, () the class names. The other source is digits in typefaces that the base model never saw: none where the words
    are not those of ten digits.
    """

    task: Task = Handwriting()
    words: tuple[str, ...] = tuple("0123456789")

    @property
    def name(self) -> str:
        return "typographic" if isinstance(self.task, Handwriting) else f"typographic {self.task.name}"

    def altered(self, data: Dataset) -> Dataset:
        return Typographic(data, self.words)

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        fonts = Rendered(n=500, seed=7, digits=1.0, garments=0.0, shapes=0.0, fonts="held_out", style="plain")
        other = {"typefaces with a word": Typographic(fonts, self.words)} if self.words == tuple("0123456789") else {}
        return {"without the word": self.task.test, **other}

    @property
    def kin(self) -> Mapping[str, Dataset]:
        return {**self.shifts, "answers the word": Typographic(self.task.test, self.words, "written")}


@dataclass(frozen=True)
class Scaled(Altered):
    """A task whose images are shrunk to `share` of their size in the middle of a black one. The shift: at full size."""

    task: Task = Handwriting()
    share: float = 0.5

    @property
    def name(self) -> str:
        return "scaled" if isinstance(self.task, Handwriting) else f"scaled {self.task.name}"

    def altered(self, data: Dataset) -> Dataset:
        return Corrupted(data, Shrunk(self.share))

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        return {"at full size": self.task.test}


@dataclass(frozen=True)
class Counting(Parted):
    """How many shapes a rendered scene shows, trained and tested on some of the counts one to six. The shift: the counts left out.

    train hash < 0.5, held out < 0.7, test the rest of `n`. `limit`: for rehearsals, at most so many examples of each.
    """

    counts: tuple[int, ...] = (1, 2, 4, 6)
    n: int = 2000
    steps: int = 150
    prompts: tuple[str, ...] = ("a picture of {}",)
    classes: tuple[str, ...] = CLASSES
    limit: int = 0
    seed: int = 5

    @property
    def name(self) -> str:
        return "counting"

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        others = tuple(count for count in COUNTS if count not in self.counts)
        return {f"counts {', '.join(map(str, others))}": self.part(self.bounds[1], 1.0, others)} if others else {}

    def part(self, low: float, high: float, counts: tuple[int, ...] = ()) -> Dataset:
        part = Split(Counted(self.n, self.seed, counts or self.counts), low, high)
        return Sample(part, self.limit) if self.limit else part
