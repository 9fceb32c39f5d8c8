"""What a run leaves, for who asks for records and values by node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from infra.dag import Fingerprints, Plan
from infra.job import Outcome
from infra.node import Node
from infra.schedule import ENDED_WELL
from infra.store import Record, Store


@dataclass
class Finished:
    """What a run leaves: the state of every node that was needed, by key, and how the others failed."""

    plan: Plan
    store: Store
    fingerprints: Fingerprints
    state: dict[str, str]
    failures: dict[str, Outcome] = field(default_factory=dict)
    retries: int = 0
    seconds: float = 0.0

    def fetch(self) -> None:
        """Read the records of all nodes of the plan from a remote store at once, before they are asked for one by one."""
        if not self.store.place.local:
            self.store.fetch(dict.fromkeys(map(self.fingerprints.key, self.plan.nodes())))

    def record(self, node: Node) -> Record | None:
        return self.store.record(self.fingerprints.key(node))

    def value(self, node: Node) -> Any:
        return self.store.load(self.fingerprints.key(node))

    @property
    def complete(self) -> bool:
        needed = (node for name, node in self.plan.targets.items() if name not in self.plan.beside)
        return all(self.state[self.fingerprints.name(node)] in ENDED_WELL for node in needed)

    @property
    def exit_code(self) -> int:
        """0; 3 where the result stands although a node failed; else the code of the first failure."""
        if self.complete:
            return 3 if self.failures else 0
        return next((outcome.code or 4 for outcome in self.failures.values()), 4)
