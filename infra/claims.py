"""Claims: which of the nodes that are ready this driver may compute. The store is asked for many of them at once."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.damage import Damage
from infra.store import Store
from infra.store.lease import Driver

FINAL = "Diverged"  # a failure that another try would repeat
POLL, FAR = 0.5, 3.0  # seconds between two looks at a node that another driver computes, on a disk and in a remote store
RATE = 200.0  # such nodes that are looked at in a second, at most


@dataclass
class Sorted:
    """What the store says of nodes that are ready, by key; what is nowhere here is ours to compute."""

    done: set[str] = field(default_factory=set)
    failed: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # for good
    held: dict[str, str] = field(default_factory=dict)  # who computes it, for people to read


class Claims:
    """The claims of one driver for one plan.

    A driver that starts takes the leases of the plan's targets. Another one that comes with the same plan finds them taken by it, attaches,
    and claims nothing as long as the first one lives: it picks up records as they come, and takes over where that one ends without the last.
    """

    def __init__(self, store: Store, driver: Driver, damage: Damage) -> None:
        self.store, self.driver, self.damage = store, driver, damage
        self.leader = ""  # who runs this very plan, for people to read
        self.targets: list[str] = []
        self._due: dict[str, float] = {}  # key that another driver computes -> when it is looked at again
        self._checked = 0.0

    def attach(self, targets: Sequence[str]) -> str:
        """Take the leases of the targets, or follow the driver that has the same plan and holds the first; returns who that is."""
        self.targets = list(dict.fromkeys(targets))
        self._lead()
        return self.leader

    def follow(self) -> bool:
        """Whether another driver still runs this plan, as of some seconds ago."""
        if self.leader and time.monotonic() > self._checked:
            self._lead()
            if not self.leader:
                self._due.clear()
        return bool(self.leader)

    def _lead(self) -> None:
        first = self.targets[0]
        who = self.driver.acquire([first])[first]
        self.leader = who if who and self.driver.same_plan(first) else ""
        if not self.leader:
            self.driver.acquire(self.targets)
        self._checked = time.monotonic() + self._pause()

    def due(self, key: str) -> bool:
        """Whether it is time to look at a node (again)."""
        return self._due.get(key, 0.0) <= time.monotonic()

    def sort(self, keys: Sequence[str]) -> Sorted:
        """What is done, failed for good, or computed by others; the leases of all other nodes are ours now, and damaged records retired."""
        found = Sorted()
        self.damage.settle(keys)
        found.done = self.store.done(key for key in keys if key not in self.damage.found)
        left = [key for key in keys if key not in found.done]
        found.failed = {key: failure for key, failure in self.store.failures(left).items() if failure.get("kind") == FINAL}
        left = [key for key in left if key not in found.failed]
        holders = dict.fromkeys(left, self.leader) if self.leader else self.driver.acquire(left)
        found.held = {key: holder for key, holder in holders.items() if holder}
        for key in found.held:
            self._due[key] = time.monotonic() + self._pause()
        self.damage.retire([key for key in left if key not in found.held])
        return found

    def _pause(self) -> float:
        """Seconds, with jitter, so that many waiting drivers do not ask at one moment, nor one driver for all that it waits for."""
        return random.uniform(0.7, 1.3) * max(POLL if self.store.place.local else FAR, len(self._due) / RATE)
