"""Runs in a bucket: nodes that share nothing but the store, and a driver that sees and stops what they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.courier import Courier, tell_to_stop
from infra.store import Store
from infra.tracking.journal import bring, events
from tests.s3.models import Bucket
from tests.s3.proxy import proxied
from tests.s3.seaweed import Server

pytestmark = pytest.mark.s3

LIMIT = 120  # seconds for what takes a few
WORKER = """
import json, sys
from infra.job import Job, Site
from infra.node import Resources
from infra.worker import execute
from tests.infra.toys import count
store, folder, cache, arguments = json.loads(sys.argv[1])
job = Job("count-1", "1", count, arguments, arguments, Resources(), Site(store, folder, cache, checkpoint_every=0.0))
outcome = execute(job)
print(json.dumps([outcome.state, outcome.code, outcome.error]))
"""


class Node:
    """A machine of its own: a process whose folders nobody else has."""

    def __init__(self, folder: Path, store: Store, **environment: str) -> None:
        self.folder, self.store, self.environment = folder, store, environment
        folder.mkdir()

    @contextmanager
    def works(self, run: str, **arguments: Any) -> Iterator[subprocess.Popen[str]]:
        """It counts for the node `count-1`; its outcome is the last line it prints."""
        order = json.dumps([self.store.url, run, str(self.folder / "cache"), arguments])
        places = {name: str(self.folder / name) for name in ("HOME", "TMPDIR", "STOCKPOT_STATE")}
        Path(places["TMPDIR"]).mkdir(exist_ok=True)
        words = [sys.executable, "-c", WORKER, order]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, **places, **self.environment})
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def outcome(process: subprocess.Popen[str]) -> list[Any]:
    found: list[Any] = json.loads(process.communicate(timeout=LIMIT)[0].splitlines()[-1])
    return found


def until(seen: Callable[[], Any]) -> Any:
    end = time.monotonic() + LIMIT
    while not (found := seen()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.2)
    return found


def steps(folder: Path) -> list[int]:
    return [event["step"] for event in events(folder) if event["kind"] == "metric"]


@pytest.fixture
def store(bucket: Bucket, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("STOCKPOT_STATE", str(tmp_path / "driver"))
    made = Store(bucket.url("store"))
    made.prepare()
    return made


def test_the_driver_sees_a_worker_of_another_node_and_stops_it(store: Store, tmp_path: Path) -> None:
    run, folder = store.place.at("runs/1"), tmp_path / "journals"
    driver = Courier(run)
    driver.attend(str(folder))
    with Node(tmp_path / "a", store).works(run, to=100_000, pause=0.01) as process:
        until(lambda: steps(folder))
        tell_to_stop(run)
        assert outcome(process)[0] == "stopped"
    driver.finish()
    seen = steps(folder)
    assert seen == list(range(len(seen))) and len(store.place.names("runs/1/journal")) == 1
    bring(store.place, elsewhere := tmp_path / "elsewhere")
    assert steps(elsewhere / "runs" / "1") == seen


def test_what_one_node_saved_another_resumes(store: Store, bucket: Bucket, tmp_path: Path) -> None:
    run = store.place.at("runs/1")
    one, two = Node(tmp_path / "a", store), Node(tmp_path / "b", store)
    with one.works(run, to=100_000, pause=0.01) as process:
        until(lambda: [name for name in store.place.names("count-1/state") if name.endswith(".json")])
        process.kill()  # no last words, and its disk is gone
    with two.works(run, to=300) as process:
        assert outcome(process)[0] == "done"
    record = store.record("count-1")
    assert record is not None and record.result["value"] == list(range(300))
    bring(store.place, tmp_path / "driver")
    restored = [event for event in events(tmp_path / "driver" / "runs" / "1") if event["kind"] == "restored"]
    assert len(restored) == 1 and restored[0]["step"] > 0
    assert not [name for name in bucket.names() if "/state/" in name]


def test_a_stop_while_the_store_is_away_leaves_the_state_on_the_disk_to_go_on_from(store: Store, server: Server, tmp_path: Path) -> None:
    run, journals = store.place.at("runs/1"), tmp_path / "journals"
    driver = Courier(run)
    driver.attend(str(journals))
    with proxied(server.port) as way:
        own = {"AWS_ENDPOINT_URL": way.url, "STOCKPOT_STATE": os.environ["STOCKPOT_STATE"], "STOCKPOT_PATIENCE": "1"}  # the driver's own machine
        one = Node(tmp_path / "a", store, **own)
        with one.works(run, to=100_000, pause=0.01) as process:
            until(lambda: [name for name in store.place.names("count-1/state") if name.endswith(".json")])
            way.refuse()
            time.sleep(2)
            reached = max(int(name.split("-")[0]) for name in store.place.names("count-1/state"))
            tell_to_stop(run)
            state, code, text = outcome(process)
            assert (state, code) == ("stopped", 4) and "on the disk of" in text
        way.listen()
        with one.works(store.place.at("runs/2"), to=100_000, pause=0.01) as process:
            restored = until(lambda: bring(store.place, tmp_path) or [e for e in events(tmp_path / "runs" / "2") if e["kind"] == "restored"])
            assert restored[0]["step"] == int(text.split()[3].rstrip(";")) > reached
    driver.finish()
