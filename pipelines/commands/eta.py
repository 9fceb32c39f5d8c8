"""How long a run still takes: what like stages took in this run, else in earlier runs of the store, else a usual stage's time."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Mapping

from infra.node import Node
from infra.schedule import OPEN, Schedule

USUAL = 0.5  # seconds of a stage of a kind that has not run yet: most are predictions
SAMPLE = 100  # stages of a kind that records are asked about

Expected = Callable[[Node], float | None]  # the seconds that a stage takes, from records of earlier runs


class Eta:
    """Remaining seconds of a schedule; `workers` run at once. What it takes to tell them grows with the kinds of stages, not with their number."""

    def __init__(self, expected: Expected = lambda node: None) -> None:
        self.expected = expected
        self.workers = 1.0
        self.spent: dict[str, list[float]] = {}  # function -> seconds of its stages that finished in this run, sorted
        self._recorded: dict[str, float | None] = {}  # function -> what records say of one of its stages

    def finished(self, node: Node, seconds: float) -> None:
        bisect.insort(self.spent.setdefault(node.function, []), seconds)

    def seconds(self, function: str, schedule: Schedule) -> float | None:
        """What one of a function's stages takes: the median of this run, else the mean of what records say of some."""
        if own := self.spent.get(function):
            return (own[len(own) // 2] + own[(len(own) - 1) // 2]) / 2
        if function not in self._recorded:
            left = [node for key, node in schedule.nodes.items() if node.function == function and schedule.state[key] in OPEN]
            told = [seconds for node in left[:: -(-len(left) // SAMPLE)] if (seconds := self.expected(node)) is not None]
            self._recorded[function] = sum(told) / len(told) if told else None
        return self._recorded[function]

    def remaining(self, schedule: Schedule, shares: Mapping[str, float]) -> float | None:
        """Seconds to go, never negative; None while a stage runs of an unknown kind. shares: what is done of running stages, by key."""
        under_way: dict[str, list[float]] = {}
        for key, share in shares.items():
            under_way.setdefault(schedule.nodes[key].function, []).append(1 - min(1.0, share))
        work, longest, left = 0.0, 0.0, Counter({function: sum(counts[state] for state in OPEN) for function, counts in schedule.counts.items()})
        for function, count in (+left).items():
            each, begun = self.seconds(function, schedule), under_way.get(function, [])
            if each is None and schedule.counts[function]["running"]:
                return None
            each = USUAL if each is None else each
            work += each * (count - len(begun) + sum(begun))
            longest = max(longest, each * (1.0 if count > len(begun) else max(begun)))
        return max(work / max(1.0, min(self.workers, left.total())), longest)
