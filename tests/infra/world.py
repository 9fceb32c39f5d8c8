"""A store in which tests run plans, and what the runs told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.weights.files import digest_of
from infra.backends.local import Local
from infra.dag import Node, Plan
from infra.finished import Finished
from infra.job import Site
from infra.runner import Runner
from infra.store import Store
from infra.tracking.journal import events


class World:
    """A store, and what the runs in it told."""

    def __init__(self, folder: Path, store: str = "") -> None:
        self.folder, self.store = folder, Store(store or str(folder / "store"))
        self.store.prepare()
        self.told: list[tuple[str, str]] = []
        self.facts: list[dict[str, Any]] = []
        self.runs = 0
        self.every, self.hung = 60.0, 0.0

    def watch(self, event: str, node: Node | None, **facts: Any) -> None:
        if node is not None or event in ("attached", "lapsed"):
            self.told.append((event, node.title if node else ""))
            self.facts.append(facts)

    def run(self, backend: Any = None, **targets: Node) -> Finished:
        self.told.clear()
        self.facts.clear()
        self.runs += 1
        run = self.store.place.at(f"runs/{self.runs}")
        self.place = Site(self.store.url, run, str(self.folder / "cache"), checkpoint_every=self.every, hung_after=self.hung, digest=digest_of)
        return Runner(self.store, backend or Local(str(self.folder / "log")), self.place, {}, self.watch).run(Plan(targets))

    def journal(self, kind: str) -> list[Any]:
        return [event for event in events(self.place.folder) if event["kind"] == kind]


class Refuses:
    """A backend that must not be needed."""

    def start(self) -> None:
        raise AssertionError("a finished plan needs no backend")
