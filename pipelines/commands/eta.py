"""How long a run still takes: what like stages took in this run, else in earlier runs of the store, else a usual stage's time."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

from infra.node import Node
from infra.schedule import Schedule

USUAL = 0.5  # seconds of a stage of a kind that has not run yet: most are predictions

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

    def remaining(self, schedule: Schedule, shares: Mapping[str, float]) -> float | None:
        """Seconds to go, never negative; None while a stage runs of an unknown kind. shares: what is done of running stages, by key."""
        left = {key: schedule.nodes[key] for key, state in schedule.state.items() if state in ("pending", "running")}
        known = {key: self.seconds(key, node) for key, node in left.items()}
        if any(seconds is None and schedule.state[key] == "running" for key, seconds in known.items()):
            return None
        work = [(USUAL if seconds is None else seconds) * (1 - min(1.0, shares.get(key, 0.0))) for key, seconds in known.items()]
        return max([sum(work) / max(1.0, min(self.workers, len(left))), *work], default=0.0)
