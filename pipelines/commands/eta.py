"""How long a run still takes: what like stages took in this run, else in earlier runs of the store, else by the share of what is done."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

from infra.node import Node
from infra.schedule import Schedule

Expected = Callable[[Node], float | None]  # the seconds that a stage takes, from records of earlier runs


class Eta:
    """Remaining seconds of a schedule; `workers` run at once."""

    def __init__(self, expected: Expected = lambda node: None) -> None:
        self.expected = expected
        self.workers = 1.0
        self.spent: dict[str, list[float]] = {}  # function -> seconds of its stages that finished in this run
        self._recorded: dict[str, float | None] = {}  # key -> what records say

    def finished(self, node: Node, seconds: float) -> None:
        self.spent.setdefault(node.function, []).append(seconds)

    def seconds(self, key: str, node: Node) -> float | None:
        """What one stage takes."""
        if own := self.spent.get(node.function):
            return statistics.median(own)
        if key not in self._recorded:
            self._recorded[key] = self.expected(node)
        return self._recorded[key]

    def remaining(self, schedule: Schedule, shares: Mapping[str, float], elapsed: float) -> float | None:
        """Seconds to go, never negative, None where nothing is known yet. shares: the part of a running stage that is done, by key."""
        left = {key: schedule.nodes[key] for key, state in schedule.state.items() if state in ("pending", "running")}
        work = {key: (seconds, 1 - min(1.0, shares.get(key, 0.0))) for key, node in left.items() if (seconds := self.seconds(key, node)) is not None}
        if len(work) == len(left):
            total = sum(seconds * rest for seconds, rest in work.values())
            return max([total / max(1.0, min(self.workers, len(left))), *(seconds * rest for seconds, rest in work.values())], default=0.0)
        done = len(schedule.state) - schedule.count("hit") - len(left) + sum(shares.get(key, 0.0) for key in left)
        share = done / max(1, len(schedule.state) - schedule.count("hit"))
        return max(0.0, elapsed * (1 - share) / share) if share > 0.02 else None
