"""Numbers as people read them."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """`12 s`, `3 min 20 s`, `1 h 05 min`; nothing known is a dash."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: int | None) -> str:
    """`14.7 MB`: decimal units, as disks are sold."""
    if count is None:
        return "-"
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if value >= 100 or units[0] == "B" else f"{value:.1f} {units[0]}"


def knob(value: object) -> str:
    """A hyper-parameter in at most four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def count(n: int, thing: str) -> str:
    """`1 trial`, `8 trials`, `1,024 examples`."""
    return f"{n:,} {thing}" + ("" if n == 1 else "s")
