"""Parts and unions of datasets: ranges of hash(example id), samples and mixtures. Disjointness is arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.types import Dataset, Examples, Run, revision


@revision(1)
@dataclass(frozen=True)
class Split(Dataset):
    """The examples whose hash(id) lies in [low, high); hash = first 8 bytes of sha256(id) / 2**64.

    A split of a split is the intersection: `Split(Split(d, 0, 0.8), 0.5, 1)` holds [0.5, 0.8).
    """

    data: Dataset
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"Split: [{self.low}, {self.high}) is not a range within [0, 1]")

    def open(self, run: Run) -> Examples:
        """The chosen examples in their order; ValueError where none is in the range."""
        import numpy as np

        from components.data import chance, examples

        whole = examples.rows(self.data.open(run))
        place = chance.position(whole.ids)
        chosen = np.flatnonzero((self.low <= place) & (place < self.high))
        if not len(chosen):
            raise ValueError(f"Split: none of {len(whole)} examples is in [{self.low}, {self.high}); widen the range or give more data")
        return whole.take(chosen, f"split {float(self.low)!r} {float(self.high)!r}")

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        cut = [(root, max(low, self.low), min(high, self.high)) for root, low, high in self.data.parts()]
        return tuple(part for part in cut if part[1] < part[2])


@revision(1)
@dataclass(frozen=True)
class Sample(Dataset):
    """At most n examples, those with the smallest hash(id): the same ones however the source is ordered."""

    data: Dataset
    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Sample: n = {self.n}, at least 1 is needed")

    def open(self, run: Run) -> Examples:
        """The chosen examples in the source's order."""
        import numpy as np

        from components.data import chance, examples

        whole = examples.rows(self.data.open(run))
        order = np.argsort(chance.position(whole.ids), kind="stable")[: self.n]
        return whole.take(np.sort(order), f"sample {self.n}")

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return self.data.parts()


@revision(1)
@dataclass(frozen=True)
class Mixture(Dataset):
    """All examples of several datasets, one after another; they agree on the classes and share no id."""

    datasets: tuple[Dataset, ...]

    def open(self, run: Run) -> Examples:
        """The joined examples; ValueError where classes differ or an id appears twice."""
        import numpy as np

        from components.data import examples

        parts = [examples.rows(data.open(run)) for data in self.datasets]
        if not parts:
            raise ValueError("Mixture: no datasets; give at least one")
        if len(names := {part.classes for part in parts}) > 1:
            first, second = sorted(names)[:2]
            raise ValueError(f"Mixture: the classes differ ({', '.join(first[:5])} and {', '.join(second[:5])}); mix datasets of one task")
        if len({part.columns for part in parts}) > 1:
            raise ValueError("Mixture: the same classes are other rows of a larger head in one of the datasets; mix datasets of one task")
        ids = np.concatenate([part.ids for part in parts])
        unique, counts = np.unique(ids, return_counts=True)
        if len(unique) < len(ids):
            raise ValueError(f"Mixture: {len(ids) - len(unique)} ids appear twice, e.g. {unique[counts > 1][0]}; mix each example once")
        captioned = [part.captions for part in parts if part.captions is not None]
        grouped = [part.groups for part in parts if part.groups is not None]
        return examples.Rows(
            ids=ids,
            labels=np.concatenate([part.labels for part in parts]),
            pixels=examples.Joined(tuple(part.pixels for part in parts)),
            digest=examples.combined("mixture", [part.digest for part in parts]),
            classes=parts[0].classes,
            groups=np.concatenate(grouped) if len(grouped) == len(parts) else None,
            captions=[text for captions in captioned for text in captions] if len(captioned) == len(parts) else None,
            skipped=tuple(line for part in parts for line in part.skipped),
            notes=tuple(line for part in parts for line in part.notes),
            columns=parts[0].columns,
            width=parts[0].width,
        )

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return tuple(part for data in self.datasets for part in data.parts())
