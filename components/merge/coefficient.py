"""One coefficient for a whole rule, tried on held-out sets: what task arithmetic and patching choose with. Integer counts, never floats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from components.merge.held_out import Tally, tallies
from components.types import Dataset, Run
from components.weights import Checkpoint, Combination

GRID = tuple(round(i / 20, 2) for i in range(21))  # 0.0 to 1.0 by 0.05
Tried = list[tuple[float, Tally]]


def grid(
    combine: Callable[[float], Combination | Checkpoint],
    coefficients: Sequence[float],
    data: Sequence[Dataset],
    heads: Sequence[Checkpoint],
    run: Run,
) -> Tried:
    """(coefficient, its counts on each set) by rising coefficient, so that the first of several equally good ones is the smallest.

    combine: the candidate of a coefficient; nothing is written. heads: the model whose classifier answers on each set.
    """
    tried = sorted(set(map(float, coefficients)))
    if not tried:
        raise ValueError("no coefficient to try: give one or more")
    return list(zip(tried, tallies([combine(each) for each in tried], data, heads, run), strict=True))


def finite(tried: Tried) -> Tried:
    """Those with counts: a candidate whose weights or answers are not finite is passed over. ValueError where none is left, with the reasons."""
    left = [(coefficient, tally) for coefficient, tally in tried if not tally.error]
    if not left:
        told = "; ".join(f"{coefficient}: {tally.error}" for coefficient, tally in tried[:3])
        raise ValueError(f"no coefficient gives a model with finite answers ({told}): give smaller ones, or leave out the model that diverged")
    return left


def trace(tried: Tried) -> list[dict[str, Any]]:
    """What was tried, as facts (JSON): one entry a coefficient, with the correct answers on each set or the error."""
    return [{"coefficient": c, **({"error": t.error} if t.error else {"correct": list(t.correct)})} for c, t in tried]
