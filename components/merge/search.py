"""The greedy search that soups and ensembles share, over integer counts of correct answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from components.predictions import Predictions
from components.types import DataError, Diverged
from components.weights import NotFinite

Accept = Literal["gt", "ge"]


@dataclass
class Search:
    """What a greedy search did. members: indices in the order of acceptance; trace: one entry a candidate, in the order of trial."""

    members: list[int] = field(default_factory=list)
    trace: list[dict[str, Any]] = field(default_factory=list)


def search(order: Iterable[int], correct: Callable[[list[int]], int], accept: Accept) -> Search:
    """Add each index, in order, where `correct(members + [index])` is greater than so far (`gt`), or not smaller (`ge`).

    The first index whose model is finite founds the set, by the same evaluation as the rest. One that is not finite is rejected by name.
    ValueError where none remains.
    """
    if accept not in ("gt", "ge"):
        raise ValueError(f"accept is gt or ge, not {accept!r}")
    found, count = Search(), -1
    for index in order:
        try:
            now = correct([*found.members, index])
        except (NotFinite, Diverged) as error:
            found.trace.append({"index": index, "accepted": False, "reason": str(error)})
            continue
        accepted = now > count or (now == count and accept == "ge")
        sign = "=" if now == count else "<" if now < count else ">"
        reason = f"{now} correct {sign} {count}" if found.members else f"{now} correct, the first"
        found.trace.append({"index": index, "accepted": accepted, "correct": now, "reason": reason})
        if accepted:
            found.members.append(index)
            count = now
    if not found.members:
        raise ValueError("every candidate was rejected: " + ("; ".join(entry["reason"] for entry in found.trace[:3]) or "there was none"))
    return found


def ranked(models: Sequence[Any], predictions: Sequence[Predictions]) -> tuple[list[int], list[int]]:
    """(indices by falling count of correct answers, ties to the earlier; the counts by index)."""
    if not models or len(models) != len(predictions):
        raise ValueError(f"{len(models)} models and {len(predictions)} predictions: give one or more, and one prediction for each")
    aligned(predictions)
    counts = [each.summary()["correct"] for each in predictions]
    return sorted(range(len(counts)), key=lambda i: (-counts[i], i)), counts


def aligned(predictions: Sequence[Predictions]) -> None:
    """DataError where the predictions are not about the same examples in the same order, ValueError where their classes differ."""
    first = predictions[0]
    for i, other in enumerate(predictions):
        if len(other) != len(first) or list(other.ids) != list(first.ids):
            raise DataError(f"predictions 0 and {i} are about other examples ({len(first)} and {len(other)}): predict both on one split")
        if other.logits.shape != first.logits.shape or tuple(other.classes) != tuple(first.classes):
            raise ValueError(f"predictions 0 and {i} have different classes ({first.logits.shape[1]} and {other.logits.shape[1]})")
