"""What the driver hands to the process that executes its jobs is under way at once, whatever that process is doing."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from infra.backends.child import Child

LARGE: Any = ["x" * 1000] * 10_000  # more than a pipe holds


def late(pipe: Connection, options: dict[str, Any]) -> None:
    """Looks into the pipe once there is a marker."""
    while not Path(options["marker"]).exists():
        time.sleep(0.05)
    while (message := pipe.recv())[0] != "stop":
        pipe.send(("outcome", len(message[1])))


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    made = Child(late, {"log": str(tmp_path / "log"), "marker": str(tmp_path / "marker")})
    made.start()
    yield made
    made.process.kill()
    made.process.join()


def test_a_large_sweep_holds_nobody_up(child: Child, tmp_path: Path) -> None:
    """Were it sent by the caller, the marker would never be there."""
    child.submit_sweep(LARGE, 1)
    child.submit_sweep(LARGE[:7], 1)
    (tmp_path / "marker").touch()
    assert [child.events.get(timeout=60) for _ in range(2)] == [("outcome", 10_000), ("outcome", 7)]
    child.stop(60)
    assert child.process.exitcode == 0 and child.events.get(timeout=60)[0] == "lost"


def test_what_cannot_be_sent_is_the_callers_error_and_holds_nobody_up(child: Child, tmp_path: Path) -> None:
    (tmp_path / "marker").touch()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        child.submit_sweep([lambda: None], 1)  # type: ignore[list-item]
    child.submit_sweep(LARGE[:7], 1)
    assert child.events.get(timeout=60) == ("outcome", 7)


@pytest.mark.parametrize("patience", [0.0, 2.0])
def test_one_that_never_takes_it_is_ended_all_the_same(child: Child, patience: float) -> None:
    """Even before it is a group of its own."""
    child.submit_sweep(LARGE, 1)
    child.stop(patience)
    assert child.process.exitcode == -9 and child.events.get(timeout=60)[0] == "lost"
