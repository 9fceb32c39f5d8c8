"""What a task is: labelled images that train, select and report, with the words for them; and a task in several domains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from components.data import SHIFTS, Corrupted, Split
from components.metrics import Top1
from components.models.heads import zero_shot
from components.types import Dataset, Metric
from infra.dag import Node, call

RENDERED = (
    "stockpot-tiny was pretrained on images with inversions, colours, textures, rotations and blur, so its robustness to those shifts is there by "
    "construction; noise, low contrast and occlusion mostly follow accuracy."
)


class Worded(ABC):
    """What every task has: its name, the words for its classes, and how long a fine-tune lasts. `classes` () are taken from the data."""

    steps: int
    classes: tuple[str, ...]
    prompts: tuple[str, ...]

    @property
    @abstractmethod
    def name(self) -> str: ...
    @property
    def caveat(self) -> str:
        """What a reader of the numbers must know, or ""."""
        return ""


class Task(Worded):
    """Labelled images in three disjoint parts, and shifts on which robustness is reported."""

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
    def kin(self) -> Mapping[str, Dataset]:
        """What patching looks at beside the test data: the shifts, and what is no shift, such as answers of which fewer are better."""
        return self.shifts

    @property
    def metric(self) -> Metric:
        """What the literature reports on this task; the table has top-1 beside it, which alone selects."""
        return Top1()


class Parted(Task):
    """A task of one source: its parts are ranges of hash(example id), train below the first bound, held out below the second, test the rest."""

    bounds: ClassVar[tuple[float, float]] = (0.5, 0.7)

    @abstractmethod
    def part(self, low: float, high: float) -> Dataset: ...

    @property
    def train(self) -> Dataset:
        return self.part(0.0, self.bounds[0])

    @property
    def held_out(self) -> Dataset:
        return self.part(*self.bounds)

    @property
    def test(self) -> Dataset:
        return self.part(self.bounds[1], 1.0)


class Domains(Worded):
    """One task of labelled images from several sources; each domain takes its turn as the one that is only tested on.

    The ids of two domains differ, so that they can be mixed, and none is a copy of another's image.
    """

    @property
    @abstractmethod
    def domains(self) -> Mapping[str, Dataset]:
        """All examples of each domain, by name."""

    def parts(self, without: str, share: float = 0.2) -> tuple[tuple[Dataset, ...], tuple[Dataset, ...]]:
        """(what trains, what selects) of each domain but one; `share` of every domain's hashes selects. ValueError for a name that is none."""
        if without not in self.domains:
            raise ValueError(f"{without!r} is no domain of {self.name}; there are {', '.join(self.domains)}")
        others = [data for name, data in self.domains.items() if name != without]
        return tuple(Split(data, share, 1.0) for data in others), tuple(Split(data, 0.0, share) for data in others)


def named(task: Task | Domains, towers: Node) -> Node:
    """The zero-shot classifier that a model's text tower makes from the task's class names and prompts."""
    source = task.train if isinstance(task, Task) else next(iter(task.domains.values()))
    return call(zero_shot, model=towers, classes=task.classes, prompts=task.prompts, data=None if task.classes else source)


def corrupted(data: Dataset) -> dict[str, Dataset]:
    """The eight corruptions of a dataset, by name."""
    return {shift.name: Corrupted(data, shift) for shift in SHIFTS}
