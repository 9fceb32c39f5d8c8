"""The greedy search that soups and ensembles share, over integer counts of correct answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from components.evaluate import Count
from components.predictions import Predictions
from components.types import DataError

Accept = Literal["gt", "ge"]
Attempts = Callable[[list[list[int]], Count | None, int], list[Count]]


@dataclass
class Search:
    """What a greedy search did. members: indices in the order of acceptance; trace: one entry a candidate, in the order of trial.

    discarded: images that were shown to candidates behind one that was accepted; those are tried again, and no entry is about them.
    """

    members: list[int] = field(default_factory=list)
    trace: list[dict[str, Any]] = field(default_factory=list)
    discarded: int = 0


def search(order: Iterable[int], attempts: Attempts, accept: Accept, parallel: int = 1) -> Search:
    """Add each index, in order, with which more answers are correct than so far (`gt`), or not fewer (`ge`).

    `attempts(sets, best, needed)` counts the correct answers of sets of members, independently of each other. It may leave off a set that
    cannot reach `needed`; best: the count of the members so far, None before there is one. The next `parallel` candidates are tried at
    once and all behind the first accepted one forgotten: members and trace are those of one at a time. The first index whose model is
    finite founds the set, by the same evaluation as the rest. One that is not is rejected by name. ValueError where none remains.
    """
    if accept not in ("gt", "ge"):
        raise ValueError(f"accept is gt or ge, not {accept!r}")
    found, best, waiting = Search(), None, list(order)
    while waiting:
        ahead = waiting[: parallel if best else 1]  # the founder is shown everything: none is founded in vain
        needed = best.most + (accept == "gt") if best else 0
        counts = attempts([[*found.members, index] for index in ahead], best, needed)
        for tried, (index, now) in enumerate(zip(ahead, counts, strict=True), 1):
            accepted = not now.error and now.complete and now.most >= needed
            found.trace.append({"index": waiting.pop(0), "accepted": accepted, "images": now.shown, **_told(now, best)})
            if accepted:
                found.members.append(index)
                found.discarded += sum(count.shown for count in counts[tried:])
                best = now
                break
    if not found.members:
        raise ValueError("every candidate was rejected: " + ("; ".join(entry["reason"] for entry in found.trace[:3]) or "there was none"))
    return found


def _told(now: Count, best: Count | None) -> dict[str, Any]:
    """The part of a trace's entry that says why: the count where there is one."""
    if now.error:
        return {"reason": now.error}
    if best is None:
        return {"correct": now.most, "reason": f"{now.most} correct, the first"}
    sign = "=" if now.most == best.most else "<" if now.most < best.most else ">"
    if now.complete:
        return {"correct": now.most, "reason": f"{now.most} correct {sign} {best.most}"}
    return {"reason": f"at most {now.most} correct {sign} {best.most} after {now.shown} of {len(now.right)}"}


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
