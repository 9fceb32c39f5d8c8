"""What one run of one study recorded, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """The main table and the exhibits of a run; exhibits that failed are not there."""

    tables: Mapping[str, Sequence[Row]]
    here: str  # the split in distribution, or ""
    mean: str  # the split name of the averaged rows
    main: tuple[str, ...]  # the models of the main table

    def row(self, model: str, split: str = "") -> Row:
        """The row of a model in distribution, or on another split."""
        return next(row for row in self.tables["table"] if row["model"] == model and row["split"] == (split or self.here))

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
        """The rows of an exhibit in which these columns have these values."""
        return [row for row in self.tables[exhibit] if all(row[name] == value for name, value in known.items())]

    def column(self, exhibit: str, name: str, **known: Any) -> np.ndarray:
        """A column of these rows, without those that have no value there."""
        return np.array([row[name] for row in self.rows(exhibit, **known) if row[name] is not None], dtype=np.float64)
