"""Numbers and tables as a person reads them on a terminal or in a log."""

from __future__ import annotations

from collections.abc import Sequence


def clock(seconds: float | None) -> str:
    """0:07, 12:30, 3 h 05; "?" where it is not known."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d}"


def size(count: float | None) -> str:
    """17 B, 2.0 MB, 1.4 GB; "?" where it is not known."""
    if count is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def counted(count: int, noun: str) -> str:
    """1 stage, 2 stages."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows of equal length as aligned lines; the columns `right` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) if k in right else cell.ljust(width) for k, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines
