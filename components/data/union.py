"""Several tasks as one dataset: each task's classes keep rows of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.types import Dataset, Examples, Run, revision


@revision(1)
@dataclass(frozen=True)
class Union(Dataset):
    """All examples of several tasks, one after another; the classes are `task: class` of the first task, then of the second, and so on.

    Labels count on from task to task; a label that is unknown stays so. names: of the tasks, one for each dataset. An example that two
    tasks show keeps its id in both, so that a split of a union is the union of the splits. Captions and groups are left behind.
    """

    datasets: tuple[Dataset, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.datasets or len(self.datasets) != len(self.names):
            raise ValueError(f"Union: {len(self.datasets)} datasets and {len(self.names)} names; give one or more, and a name for each")
        if len(set(self.names)) < len(self.names) or any(": " in name for name in self.names):
            raise ValueError(f"Union: the names are {', '.join(self.names)}; give each task a name of its own, without a colon and a space")

    def open(self, run: Run) -> Examples:
        """The joined examples; ValueError where a source does not know its classes."""
        import numpy as np

        from components.data import examples

        parts = [examples.rows(data.open(run)) for data in self.datasets]
        if unnamed := [name for name, part in zip(self.names, parts, strict=True) if not part.classes]:
            raise ValueError(f"Union: the data of {unnamed[0]} does not name its classes; give data that does, as class folders do")
        starts = np.cumsum([0, *(len(part.classes) for part in parts)])
        return examples.Rows(
            ids=np.concatenate([part.ids for part in parts]),
            labels=np.concatenate([np.where(part.labels < 0, -1, part.labels + start) for part, start in zip(parts, starts, strict=False)]),
            pixels=examples.Joined(tuple(part.pixels for part in parts)),
            digest=examples.combined("union", self.names, [part.digest for part in parts]),
            classes=tuple(f"{name}: {each}" for name, part in zip(self.names, parts, strict=True) for each in part.classes),
            skipped=tuple(line for part in parts for line in part.skipped),
            notes=tuple(line for part in parts for line in part.notes),
        )

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return tuple(part for data in self.datasets for part in data.parts())
