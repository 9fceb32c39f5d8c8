"""Processes that race for one name in a store; importable by the processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

from infra.errors import StoreError
from infra.store import Store
from infra.store.lease import Driver
from infra.store.place import Place
from infra.store.record import Record


def create(url: str, i: int) -> bool:
    return Place(url).create("name", f"process {i}\n".encode() * 1000)


def publish(url: str, i: int) -> bool:
    return Store(url).publish(record(result={"value": i}))


def acquire(url: str, i: int) -> bool:
    driver = Driver(Place(url))
    driver.start()
    return driver.acquire(["add-1"]) == {"add-1": ""}  # and ends without a word, as a killed driver does


def killed_before_the_link(url: str, i: int) -> bool:
    """Dies after the temporary file was written and before its name appears."""
    os.link = lambda *names: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
    return Place(url).create("add-1/record.json", b"{}")


def prepare_as_nobody(url: str, i: int) -> bool:
    """Exits with the code of the error that a user meets who may not write there."""
    if os.getuid() == 0:
        os.setuid(65534)
    try:
        Store(url).prepare()
    except StoreError as error:
        os._exit(error.exit_code if "cannot be written; change its permissions" in str(error) else 1)
    return True


def record(**changes: Any) -> Record:
    facts: dict[str, Any] = {"key": "add-1", "function": "toys:add", "fingerprint": "1", "revision": 1, "arguments": {}, "inputs": {}}
    return Record(**{**facts, "result": {"value": 1.0}, **changes})


def _runner(fn: Callable[[str, int], bool], url: str, i: int, barrier: Any, out: Any) -> None:
    barrier.wait()
    out.put((i, fn(url, i)))
    out.close()
    out.join_thread()
    os._exit(0)


def race(fn: Callable[[str, int], bool], url: str, processes: int) -> list[int]:
    """The indices of the processes for which `fn(url, i)`, called at one moment in all of them, was true."""
    context = multiprocessing.get_context("fork")
    barrier, out = context.Barrier(processes), context.Queue()
    running = [context.Process(target=_runner, args=(fn, url, i, barrier, out)) for i in range(processes)]
    for process in running:
        process.start()
    found = [out.get(timeout=60) for _ in running]
    for process in running:
        process.join()
    return sorted(i for i, won in found if won)


def alone(fn: Callable[[str, int], bool], url: str) -> int:
    """The exit code of a process that calls `fn(url, 0)`."""
    process = multiprocessing.get_context("fork").Process(target=fn, args=(url, 0))
    process.start()
    process.join()
    return process.exitcode or 0
