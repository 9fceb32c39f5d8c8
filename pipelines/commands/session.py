"""What the commands share: a store, pins, a backend, a journal with its mirror, and a view of the progress."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from components.weights.files import digest, pieces
from infra import settings
from infra.dag import Plan
from infra.job import Place
from infra.runner import Backend, Finished, Runner
from infra.store import Store
from infra.store.pins import Pins
from infra.store.place import is_local
from infra.tracking.journal import Journal
from pipelines.commands.studies import Options
from pipelines.commands.view import View


def open_store(options: Options, *, create: bool = True) -> Store:
    """The store of the options, checked. ValueError where it is only to be read and is not there."""
    store = Store(options.store or settings.default_store())
    if not create and not store.place.exists("store.json"):
        raise ValueError(f"{store.url}: no store is here; run a study first, or name one with --store")
    store.prepare()
    return store


def tracking_uri(options: Options, store: Store) -> str:
    """Where MLflow is: a server by flag or environment, a database beside a local store, or "" for none."""
    wanted = options.tracking or settings.default_tracking()
    if wanted == "none" or (not wanted and not is_local(store.url)):
        return ""
    if not wanted:
        from infra.tracking.mirror import local

        return local(store.url)
    return wanted


@dataclass
class Session:
    """One run of one plan."""

    store: Store
    options: Options
    command: str
    view: View = field(default_factory=View)

    def __post_init__(self) -> None:
        self.name = time.strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]
        self.folder = self.store.place.at(f"runs/{self.name}")
        self.mirror: Any = None
        self.owed = ""

    def backend(self) -> Backend:
        log = os.path.join(self.folder, "backend.log")
        if self.options.ray == "none":
            from infra.backends.local import Local

            return Local(log)
        from infra.backends.cluster import Cluster

        return Cluster(self.options.ray, self.options.cpus, log)

    def run(self, plan: Plan, **facts: Any) -> Finished:
        """Compute what is missing; MLflow hears of it only when something ran."""
        pins = Pins(self.store.place, lambda url: digest(pieces(url))).of(plan)
        place = Place(self.store.url, self.folder, settings.cache_folder(), self.options.cache_limit, self.options.checkpoint_every)
        runner = Runner(self.store, self.backend(), place, pins, self.view.watch)
        self.view.begin(self.folder, lambda: self._begin(facts))
        with self.view:
            finished = runner.run(plan)
        self.view.end(finished)
        return finished

    def _begin(self, facts: dict[str, Any]) -> None:
        with self.journal() as journal:
            journal.write("run", run=self.name, command=self.command, **facts)
        if uri := tracking_uri(self.options, self.store):
            from infra.tracking.mirror import Mirror

            self.mirror = Mirror(self.folder, uri)

    @contextlib.contextmanager
    def journal(self) -> Iterator[Journal]:
        journal = Journal(self.folder, "command")
        try:
            yield journal
        finally:
            journal.close()

    def close(self, status: str) -> str:
        """End the run in the journal and wait, a bounded time, for MLflow; one line where it has not got everything."""
        if self.mirror is None:
            return ""
        with self.journal() as journal:
            journal.write("end", status=status)
        return str(self.mirror.finish())


def command_line(words: Sequence[str]) -> str:
    return shlex.join(["stockpot", *words])
