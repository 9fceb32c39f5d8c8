"""What one run of one study recorded, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]


class Missing(LookupError):
    """A run did not record what a claim is about: an exhibit or a model of it failed."""


@dataclass(frozen=True)
class Told:
    """The main table and the exhibits of a run; exhibits that failed are not there."""

    tables: Mapping[str, Sequence[Row]]
    here: str  # the split in distribution, or ""
    mean: str  # the split name of the averaged rows
    main: tuple[str, ...]  # the models of the main table

    def row(self, model: str, split: str = "") -> Row:
        """The row of a model in distribution, or on another split."""
        return self.rows("table", model=model, split=split or self.here)[0]

    def top1(self, model: str, split: str = "") -> float:
        """An accuracy in percent."""
        return 100 * float(self.row(model, split)["top1"])

    def away(self, model: str) -> float:
        """The mean accuracy over shifts, domains or tasks in percent."""
        return self.top1(model, self.mean)

    def gap(self, model: str, other: str, split: str = "") -> float:
        """How many points a model is ahead of another one."""
        return self.top1(model, split) - self.top1(other, split)

    def ahead(self, model: str, other: str) -> float:
        """The same over the mean of shifts, domains or tasks."""
        return self.away(model) - self.away(other)

    def rows(self, exhibit: str, **known: Any) -> list[Row]:
        """The rows of an exhibit in which these columns have these values; Missing where there is none."""
        found = [row for row in self.tables.get(exhibit, ()) if all(row[name] == value for name, value in known.items())]
        if not found:
            raise Missing(f"{exhibit} has no row with {known}")
        return found

    def column(self, exhibit: str, name: str, **known: Any) -> np.ndarray:
        """A column of these rows, without those that have no value there."""
        return np.array([row[name] for row in self.rows(exhibit, **known) if row[name] is not None], dtype=np.float64)
