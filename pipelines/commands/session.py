"""What the commands share: a store, pins, a backend, a journal with its mirror, and a view of the progress."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from components.weights.digests import digests_of
from components.weights.files import digest_of
from infra import settings
from infra.courier import courier, here
from infra.dag import Plan
from infra.finished import Finished
from infra.job import Site
from infra.node import Node
from infra.runner import Backend, Runner
from infra.secrets import redact
from infra.store import Store
from infra.store.pins import Pins
from infra.store.place import is_local
from infra.store.preflight import ready
from infra.store.relatives import Ancestors, Relatives
from infra.store.tries import retried, told
from infra.tracking.journal import Journal
from pipelines.commands import bar
from pipelines.commands.fields import near
from pipelines.commands.studies import Options, Where
from pipelines.commands.view import View

W = TypeVar("W", bound=Where)


def open_store(options: Where, *, create: bool = True, optional: bool = False) -> Store:
    """The store of the options, checked. ValueError where it is only to be read and is not there, unless it is `optional`."""
    store = Store(options.store or settings.default_store())
    if store.place.local and os.path.isfile(store.url):
        raise ValueError(f"{store.url}: is a file, and a store is a folder, or a URL like s3://bucket/folder; give another --store")
    if create or store.place.read("store.json") is not None:  # not by a HEAD, whose answer names no missing bucket
        store.prepare(write=create)
    elif not optional:
        raise ValueError(f"{store.url}: no store is here; run a study first, or name another")
    return store


def named(words: Sequence[str], options: W, usage: str) -> W:
    """The options, with the store that the words of a command are, where there are any."""
    if len(words) > 1 or (words and options.store):
        raise ValueError(f"{words[-1]!r} is one word too many; {usage}")
    return dataclasses.replace(options, store=words[0]) if words else options


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

    def __post_init__(self) -> None:
        self.view = View(self.options.quiet, self.options.on.gpus)
        self.name = time.strftime("%Y%m%d-%H%M%S-") + uuid.uuid4().hex[:6]
        self.url = self.store.place.at(f"runs/{self.name}")  # of the run's folder; on this disk, a remote one has its counterpart
        self.folder = here(self.url)
        self.mirror: Any = None
        self.began = False  # whether anything had to be computed

    def backend(self) -> Backend:
        log = os.path.join(self.folder, "backend.log")
        if self.options.ray == "none":
            from infra.backends.local import Local

            return Local(log)
        if self.options.ray.startswith(("http://", "https://")):
            where = f"--ray {self.options.ray}"
            raise ValueError(f"{where}: is a dashboard, which takes stockpot submit; a run wants the HOST:PORT of the head, like 10.0.0.1:6379")
        if self.options.ray not in ("local", "auto") and ":" not in self.options.ray:
            raise ValueError(f"--ray {self.options.ray}: give local, none or the HOST:PORT of a cluster{near(self.options.ray, ['local', 'none'])}")
        if self.options.cpus is not None and self.options.cpus < 1:
            raise ValueError(f"--cpus {self.options.cpus}: give 1 or more, or leave it out for all")
        from infra.backends.cluster import Cluster

        return Cluster(self.options.ray, self.options.cpus, log)

    def run(self, plan: Plan, **facts: Any) -> Finished:
        """Compute what is missing; MLflow hears of it only when something ran."""
        with bar.shown("pinning the data") as progress:
            pins = Pins(self.store.place, digests_of).of(plan, progress)
        for line in pins.told:
            self.view.say(line, "dim")
        o = self.options
        place = Site(self.store.url, self.url, "", o.cache_limit, o.checkpoint_every, o.hung_after, digest_of, o.on)
        runner = Runner(self.store, self.backend(), place, pins, self.view.watch)
        relatives, ancestors = Relatives(self.store), Ancestors(runner.fingerprints.key)

        def expected(node: Node) -> float | None:
            return relatives.seconds(node.function, ancestors.roots(node), node.arguments.get("steps")) if self.store.place.local else None

        self.view.begin(self.folder, lambda: self._begin(facts), expected)
        before = retried()
        try:
            with self.view:
                finished = runner.run(plan)
        finally:
            if line := told(runner.retried + (retried() - before)):
                self.view.say(line, "dim")
        self.view.end(finished)
        return finished

    def _begin(self, facts: dict[str, Any]) -> None:
        if not self.store.place.local:
            for line in ready(self.store.place):
                self.view.say(line, "yellow")
        self.began = True
        if not self.store.place.local:
            courier(self.url).attend(self.folder)
        with self.journal() as journal:
            journal.write("run", run=self.name, command=self.command, **facts)
        if uri := tracking_uri(self.options, self.store):
            from infra.tracking.mirror import Mirror

            self.mirror = Mirror(self.folder, uri, store="" if self.store.place.local else self.store.url)
        elif not self.store.place.local and not self.options.tracking:
            self.view.say(f"MLflow hears nothing of this run, for no --tracking is given; its journal is {self.url}/journal", "dim")

    @contextlib.contextmanager
    def journal(self) -> Iterator[Journal]:
        journal = Journal(self.url, "command")
        try:
            yield journal
        finally:
            journal.close()

    def close(self, status: str) -> str:
        """End the run in the journal and wait, a bounded time, for MLflow; one line where it has not got everything."""
        if not self.began:
            return ""
        with self.journal() as journal:
            journal.write("end", status=status)
        if not self.store.place.local:
            courier(self.url).finish()
        return str(self.mirror.finish()) if self.mirror else ""


def command_line(words: Sequence[str]) -> str:
    """The command as one would type it again, without secrets."""
    return redact(shlex.join(["stockpot", *words]))
