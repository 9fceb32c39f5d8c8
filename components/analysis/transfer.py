"""What models that learned other tasks answer on one that they did not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from components.predictions import Predictions
from components.types import Table, revision


@revision(1)
def transfer(predictions: Annotated[Mapping[str, Predictions], "reports"], baseline: str) -> Table:
    """One row for each model, by its name: top-1 with Wilson's interval, the difference to the baseline with Tango's, paired, its verdict, and n.

    The baseline's own difference is None. ValueError where models answered different examples, or none is called so.
    """
    from components.analysis.table import tabulate

    rows: list[dict[str, Any]] = []
    for row in tabulate({name: [answers] for name, answers in predictions.items()}, ["test"], baseline).rows:
        kept = {"model": row["model"], "top1": row["top1"], "top1_low": row["low"], "top1_high": row["high"]}
        kept |= {key: row[key] for key in ("difference", "difference_low", "difference_high", "verdict", "n")}
        rows.append(kept)
    return Table(tuple(rows), (f"Top-1 with Wilson 95 % intervals; differences to {baseline} are paired by example (Tango's interval).",))
