"""A pool of models of which only a table of results is known, such as the 72 fine-tunes that model soups published."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from components.types import DataError, Table

NAME = "model_name"


def results(url: str) -> Table:
    """Results as they are published: one JSON object a line and model, its name under `model_name`, and an accuracy in [0, 1] for each split.

    DataError, with the line, for anything else: another set of splits than the first line has, a name twice, what is no share.
    """
    import fsspec

    rows: list[dict[str, Any]] = []
    with fsspec.open(url, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                rows.append(_row(line, f"{url}, line {number}", rows))
    if not rows:
        raise DataError(f"{url} holds no results: give one JSON object a line")
    return Table(tuple(rows))


def ranked(table: Table, by: str) -> list[str]:
    """The names of the models, the most accurate on the split `by` first; ties go to the earlier."""
    _known(table, [by])
    return [row[NAME] for row in sorted(table.rows, key=lambda row: -row[by])]


def points(table: Table, here: str, shifts: Sequence[str]) -> list[dict[str, Any]]:
    """Rows for `draw_scatter` and `robustness.fit`: name, kind, alpha, x, the accuracy on `here`, and y, the mean over the shifts."""
    _known(table, [here, *shifts])
    if not shifts:
        raise ValueError("no shifts to average: name at least one column")
    return [
        {"name": row[NAME], "kind": "single", "alpha": None, "x": row[here], "y": sum(row[shift] for shift in shifts) / len(shifts)}
        for row in table.rows
    ]


def _row(line: str, where: str, before: Sequence[dict[str, Any]]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is not JSON ({error}): give one object a line") from error
    if not isinstance(row, dict) or not isinstance(row.get(NAME), str):
        raise DataError(f"{where} has no {NAME}: each line names its model")
    for key, value in row.items():
        if key != NAME and (isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and 0 <= value <= 1)):
            raise DataError(f"{where} has {key} = {value!r}: an accuracy is a share from 0 to 1")
    if before and set(row) != set(before[0]):
        other = sorted(set(row) ^ set(before[0]))
        raise DataError(f"{where} has other splits than the first line, e.g. {other[0]}: every model is measured on all")
    if any(row[NAME] == one[NAME] for one in before):
        raise DataError(f"{where} is the second of the name {row[NAME]}: give each model a name of its own")
    return row


def _known(table: Table, columns: Sequence[str]) -> None:
    known = [key for key in table.rows[0] if key != NAME]
    if unknown := [column for column in columns if column not in known]:
        raise ValueError(f"{unknown[0]!r} is no split of these results: they are {', '.join(known)}")
