"""One pass over the values of several ingredients, for the statistics that a method needs before it combines them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from components.weights import engine
from components.weights.engine import Evaluator
from components.weights.plan import Plan, Slot

T = TypeVar("T")
BESIDE = 1 << 26  # bytes that a method may hold while it looks at all values


class Scan:
    """What a method sees of its ingredients before it combines them: every slab once, by all cores."""

    def __init__(self, plans: Sequence[Plan], order: tuple[int, ...]) -> None:
        self.order, self._plans = order, plans  # order: which of the ingredients, as they were given, each value is of
        self.keys = {key: each.layout[key] for each in self._plans for slot in each.slots if slot.kind == "blended" for key, _ in slot.keys}

    @property
    def count(self) -> int:
        """Values of one ingredient."""
        return sum(entry.count for entry in self.keys.values())

    def __call__(self, visit: Callable[[str, int, list[np.ndarray]], T], places: Sequence[tuple[str, int, int]] | None = None) -> Iterator[T]:
        """What `visit(key, first value, values)` gives for each slab, in order; values: float64, one array an ingredient, free to be overwritten.

        places: (key, first value, count) of what is looked at instead of everything.
        """
        for plan in self._plans:
            slots = [slot for slot in plan.slots if slot.kind == "blended"]
            if not slots:
                continue
            most = max(1, min(engine.SLAB, engine.BLEND // 8 // len(slots[0].sources)))
            if places is None:
                items = [(slot, low, min(most, slot.entry.count - low)) for slot in slots for low in range(0, slot.entry.count, most)]
            else:
                held = {slot.keys[0][0]: slot for slot in slots}
                items = [(held[key], low, count) for key, low, count in places if key in held]

            def make(evaluator: Evaluator) -> Callable[[tuple[Slot, int, int]], T]:
                def call(item: tuple[Slot, int, int]) -> T:
                    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite stays so, and is found in the result
                        return visit(item[0].keys[0][0], item[1], evaluator.gather(*item))

                return call

            yield from engine.each(plan, make, items, lambda _, item: [item])
