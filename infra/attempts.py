"""What went wrong is tried again, as often as another try can help: the one rule for nodes, the trials of sweeps and those of searches."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from infra.errors import BUG
from infra.job import Outcome

RETRIES = 2  # of input and output errors
ONCE = 1  # of an exception that may be chance: what comes again is not
LOSSES = {"node": 50, "oom": 1}  # of a process with its machine, or for want of memory: in a row, and without getting any further between
CRASHES = 5  # the same for any other reason

Reached = Callable[[], Any]  # how far it has come; equal answers mean no further


def retries(outcome: Outcome) -> int:
    """How often a job that failed so is tried again."""
    return 0 if not outcome.retry else ONCE if outcome.code == BUG else RETRIES


class Attempts:
    """Of many jobs, by name."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self._row: dict[str, Counter[str]] = {}  # losses since it last got further, by kind
        self._reached: dict[str, Any] = {}

    def count(self, name: str) -> int:
        """How often it was begun and did not end well."""
        return self.tries[name] + self.losses[name]

    def total(self) -> int:
        return self.tries.total() + self.losses.total()

    def again(self, name: str, outcome: Outcome, reached: Reached) -> float | None:
        """Seconds to wait before it is begun again, or None where it is given up."""
        if outcome.state == "lost":
            return 0.0 if self.lost(name, outcome.kind, reached) else None
        self.tries[name] += 1
        return random.uniform(0.5, 1.0) * 2 ** self.tries[name] if self.tries[name] <= retries(outcome) else None

    def lost(self, name: str, kind: str, reached: Reached) -> bool:
        """Its process went away: whether it is begun again. One that gets further each time always is."""
        self.losses[name] += 1
        now = reached()
        if name not in self._row or now != self._reached[name]:
            self._row[name], self._reached[name] = Counter(), now
        self._row[name][kind] += 1
        return self._row[name][kind] <= LOSSES.get(kind, CRASHES)
