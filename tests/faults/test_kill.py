"""The headline: processes are killed at random moments, the same command is run again, and the digests are those of an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.store import Store
from infra.tracking.journal import events
from tests.infra.processes import await_end, descendants, reaped

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).parents[2]
LIMIT = 400.0  # seconds after which a command counts as hanging
IDLE = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")


@contextmanager
def command(store: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`stockpot WORDS` on a store, in a session of its own; what it prints goes beside the store."""
    line = [sys.executable, "-m", "pipelines", *words, "--store", str(store)]
    with open(store.with_suffix(".log"), "ab") as log:
        process = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    with reaped(process):
        yield process


def run(store: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return command(store, "run", "soup", "smoke", "--tracking", "none", "--checkpoint_every", "0.2")


def digests(store: Path) -> dict[str, str]:
    """{key: digest of what it gave} of every finished node."""
    opened = Store(str(store))
    return {key: record.digest for key in opened.keys() if (record := opened.record(key))}  # noqa: SIM118


def said(store: Path) -> str:
    return store.with_suffix(".log").read_text()[-3000:]


@dataclass(frozen=True)
class Undisturbed:
    digests: dict[str, str]
    seconds: float


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    started = time.monotonic()
    with run(store) as process:
        assert process.wait(LIMIT) == 0, said(store)
    return Undisturbed(digests(store), time.monotonic() - started)


def driver(process: subprocess.Popen[bytes]) -> list[int]:
    return [process.pid]


def worker(process: subprocess.Popen[bytes]) -> list[int]:
    return [pid for pid, name in descendants(process.pid).items() if name.startswith("ray::") and not name.startswith(IDLE)]


def raylet(process: subprocess.Popen[bytes]) -> list[int]:
    return [pid for pid, name in descendants(process.pid).items() if name.split(" ")[0].endswith("/raylet")]


def gcs(process: subprocess.Popen[bytes]) -> list[int]:
    return [pid for pid, name in descendants(process.pid).items() if name.split(" ")[0].endswith("/gcs_server")]


VICTIMS = {"worker": worker, "raylet": raylet, "gcs": gcs, "driver": driver}


def strike(process: subprocess.Popen[bytes], victim: str, after: float, chance: random.Random) -> dict[int, str]:
    """SIGKILL for one such process once the command ran for `after` seconds; its whole family, or {} where the command ended before."""
    until = time.monotonic() + after
    while process.poll() is None:
        if time.monotonic() > until and (found := VICTIMS[victim](process)):
            family = descendants(process.pid)
            os.kill(chance.choice(found), signal.SIGKILL)
            return family
        time.sleep(0.05)
    return {}


@pytest.mark.parametrize(("victim", "strikes"), [("worker", 2), ("raylet", 1), ("gcs", 1), ("driver", 2)])
def test_the_same_command_after_a_kill_ends_with_the_same_digests(victim: str, strikes: int, undisturbed: Undisturbed, tmp_path: Path) -> None:
    store, chance, families = tmp_path / "store", random.Random(victim), []
    early = 1.0
    while len(families) < strikes or not finished(store, undisturbed):
        assert early > 0.05, f"no {victim} was ever there to be killed"
        with run(store) as process:
            if len(families) < strikes and (family := strike(process, victim, early * chance.uniform(0.3, 0.8) * undisturbed.seconds, chance)):
                families.append(family)
            code = process.wait(LIMIT)
        assert code in ((0,) if victim == "worker" else (0, 4, -signal.SIGKILL)), said(store)
        if code == 0 and len(families) < strikes:  # it was done before its time had come: from the start, and earlier
            shutil.rmtree(store)
            early /= 2
    for family in families:
        await_end(family, 60)
    assert digests(store) == undisturbed.digests
    with command(store, "verify") as process:
        assert process.wait(LIMIT) == 0, said(store)


def finished(store: Path, undisturbed: Undisturbed) -> bool:
    return digests(store).keys() >= undisturbed.digests.keys()


def test_two_runs_of_one_study_at_once_compute_every_node_once(undisturbed: Undisturbed, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with run(store) as first, run(store) as second:
        assert [first.wait(LIMIT), second.wait(LIMIT)] == [0, 0], said(store)
    assert digests(store) == undisturbed.digests
    runs = [events(folder) for folder in (store / "runs").iterdir()]
    started = Counter(event["key"] for run in runs for event in run if event["kind"] == "running")
    assert started == dict.fromkeys(undisturbed.digests, 1)
