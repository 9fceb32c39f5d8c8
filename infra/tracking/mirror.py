"""The process that replays journals into MLflow, beside the driver and never in its way.

    python -m infra.tracking.mirror FOLDER --tracking URI      sends what has not been sent of one run, once

`Mirror` starts it for a run that is going on. It then reads what to do from its standard input, so that no secret of a URI is in a list of
processes, follows the journal until that input is closed, and sends what earlier runs of the store could not.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from infra import settings
from infra.errors import StoreError
from infra.secrets import redact
from infra.store.place import Place
from infra.tracking import database
from infra.tracking.journal import Line, lines
from infra.tracking.owed import adopt, note, settle
from infra.tracking.sent import Sent

EXPERIMENT = "stockpot"
POLL = 0.5  # seconds between looks at the journal
LONGEST = 60.0  # seconds between tries while MLflow does not answer
LINES = 2000  # events that are looked at together: what is over by the last of them was never running for MLflow
NOTE = 2.0  # seconds between two notes of how much was sent
REWINDS = 3
MOST = 60.0  # seconds that the end of a run waits for a mirror that gets on; what is left then, the next run sends


def local(store: str | os.PathLike[str]) -> str:
    """The tracking URI of a store on this disk: `mlflow ui --backend-store-uri` opens it."""
    return f"{database.SCHEME}{Path(store).absolute()}/mlflow.db"


class Mirror:
    """The driver's side: the mirror of the run in `folder` as a child process. It costs this process no import and no waiting.

    store: where that run lies if not on this disk, whose notes of what is owed it keeps.
    """

    def __init__(
        self, folder: str | os.PathLike[str], tracking: str, *, store: str = "", experiment: str = EXPERIMENT, patience: float = 20.0
    ) -> None:
        self._sent = Sent.of(folder, tracking)
        self._patience = patience
        self._sent.save()  # from now on this run is owed to this server
        order = json.dumps({"tracking": tracking, "store": store, "experiment": experiment, "patience": patience})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "infra.tracking.mirror", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the driver
        )
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it died at once: `finish` says what is owed
            self._process.stdin.write(order.encode() + b"\n")
            self._process.stdin.flush()

    def finish(self) -> str:
        """Wait while events arrive, `patience` seconds beyond the last, `MOST` in all. "" when all is there, else one line (exit code 3)."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        left, began = math.inf, time.monotonic()
        deadline = began
        while self._process.poll() is None and time.monotonic() < min(deadline + self._patience, began + max(MOST, self._patience)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
            now = Sent.of(self._sent.path.parents[1], self._sent.tracking).behind
            left, deadline = min(left, now), time.monotonic() if now < left else deadline
        if self._process.poll() is None:
            self._process.kill()  # at any point: whatever was sent is found again
            self._process.wait()
        return owed(self._sent.path.parents[1], self._sent.tracking)


def owed(folder: str | os.PathLike[str], tracking: str) -> str:
    """"" where MLflow has all events of a run, else one line: how many it has not, why, and what sends them."""
    sent = Sent.of(folder, tracking)
    if sent.unsent:
        reason = sent.problem or "it was too slow"
        return f"MLflow at {sent.tracking} has not got {sent.unsent} events ({reason}): the next run sends them, the results are complete"
    if sent.refused:
        return f"MLflow at {sent.tracking} refused {sent.refused} events ({sent.problem}): the results are complete"
    return ""


def replay(store: str | os.PathLike[str], tracking: str, *, experiment: str = EXPERIMENT, everything: bool = False) -> list[str]:
    """Send what the server has not got of the runs that were to go there (of all runs: `everything`), and stop where it does not work.

    Returns a line for each run that is still owed.
    """
    folders = _folders(Path(store) / "runs", tracking, everything)
    _catch_up(folders, tracking, experiment)
    return [line for folder in folders if (line := owed(folder, tracking))]


def _folders(runs: Path, tracking: str, everything: bool = False) -> list[Path]:
    folders = [path.parent for path in sorted(runs.glob("*/journal"))]
    return [folder for folder in folders if everything or Sent.of(folder, tracking).known]


def _catch_up(folders: Sequence[Path], tracking: str, experiment: str) -> None:
    for folder in folders:
        if not _Follower(folder, tracking, experiment).follow(lambda seconds: True, patience=0):
            return


def _earlier(folder: Path, tracking: str, experiment: str, store: Place | None) -> None:
    """Send what earlier runs owe; in a remote store, what another machine left is sent from here, and this run is noted."""
    if store:
        with contextlib.suppress(StoreError):  # the notes are for others: without them this run is sent all the same
            note(store, folder, tracking)
            adopt(store, folder.parent, tracking)
    earlier = [one for one in _folders(folder.parent, tracking) if one.name != folder.name]
    _catch_up(earlier, tracking, experiment)
    if store:
        with contextlib.suppress(StoreError):
            for one in earlier:
                settle(store, one, tracking)


class _Follower:
    """One run's journal on its way to one server."""

    def __init__(self, folder: Path, tracking: str, experiment: str) -> None:
        self.folder, self.tracking, self.experiment = folder, tracking, experiment
        self.sent = Sent.of(folder, tracking)
        self.rewinds = 0

    def follow(self, closed: Callable[[float], bool], patience: float) -> bool:
        """Send until `closed(seconds)`, which waits that long, then what is left; where it fails, for `patience` seconds more."""
        with self.sent.held() as mine:
            if not mine or (self.sent.ended and not self.sent.behind) or (self.sent.ended and not self.sent.unsent):
                return True
            self._open()
            delay, deadline = POLL, math.inf
            while True:
                state = self._step()
                if state == "sent":
                    delay = POLL
                    continue
                if deadline < math.inf and (state == "idle" or time.monotonic() >= deadline):
                    return state == "idle" and self._conclude()
                delay = POLL if state == "idle" else min(2 * delay, LONGEST if deadline == math.inf else 2.0)
                if deadline < math.inf:
                    time.sleep(delay)
                elif closed(delay * random.uniform(0.7, 1.3)):
                    deadline = time.monotonic() + patience

    def _open(self) -> None:
        """Import mlflow, and recall what was sent before."""
        from infra.tracking.entities import Entities, configure
        from infra.tracking.replica import Replica

        configure()
        path = database.file(self.tracking)
        artifacts = path.parent.joinpath("mlflow").absolute().as_uri() if path else ""
        there = Entities(self.tracking, name=self.folder.name, experiment=self.experiment, artifacts=artifacts)
        self.replica = Replica(there, self.folder)
        for line in lines(self.folder):
            if line.event and line.end <= self.sent.cursor.get(line.writer, 0):
                self.replica.observe(line.event)
                if line.event.get("state") in ("done", "failed"):
                    there.sent.add(line.event["fingerprint"])

    def _step(self) -> str:
        """Send some lines: "sent", or "idle" where there are none, or "failed"."""
        from infra.tracking.entities import FAULTS, refuses

        some = list(itertools.islice(lines(self.folder, self.sent.cursor), LINES))
        try:
            self._send(some)
        except FAULTS as error:
            if not refuses(error):
                return self._failed(error)
            if self.rewinds < REWINDS:  # somebody deleted a run perhaps: everything is looked up anew, and what is missing made again
                self.rewinds += 1
                self.replica.forget()
                self.sent.cursor.clear()
                return "sent"
            return self._one_by_one([line for line in some if line.end > self.sent.cursor.get(line.writer, 0)])
        return "sent" if some else "idle"

    def _one_by_one(self, some: list[Line]) -> str:
        """Send each line alone and leave out those that are refused: one bad event does not hold up the others."""
        from infra.tracking.entities import FAULTS, refuses

        self.replica.forget()  # the metrics that were gathered together
        for line in some:
            try:
                self._send([line])
            except FAULTS as error:
                if not refuses(error):
                    return self._failed(error)
                self.replica.forget()
                self.sent.refused += 1
                self._advance([line], problem=_reason(error))
        return "sent"

    def _send(self, some: list[Line]) -> None:
        """Send lines, and note how far it came every other second: the driver waits as long as it gets on."""
        self.replica.expect(line.event for line in some)
        noted, done = time.monotonic(), 0
        for i, line in enumerate(some):
            if line.event:
                self.replica.observe(line.event)
                self.replica.send(line.event)
            if time.monotonic() - noted > NOTE:
                self._flush(some[done : i + 1])
                noted, done = time.monotonic(), i + 1
        self._flush(some[done:])

    def _flush(self, some: list[Line]) -> None:
        self.replica.flush()
        if some or self.sent.problem:
            self.sent.ended = self.sent.ended or any(line.event.get("kind") == "end" for line in some)
            self._advance(some, problem=self.sent.problem if self.sent.refused else "")

    def _advance(self, some: list[Line], problem: str) -> None:
        self.sent.cursor.update({line.writer: line.end for line in some})
        self.sent.problem = problem
        self.sent.save()

    def _failed(self, error: Exception) -> str:
        self.sent.problem = _reason(error)
        self.sent.save()
        return "failed"

    def _conclude(self) -> bool:
        """A journal without an end is that of a driver that was killed."""
        from infra.tracking.entities import FAULTS

        if not self.sent.ended:
            try:
                self.replica.send({"kind": "end", "at": max((line.at for line in lines(self.folder)), default=0.0), "status": "killed"})
            except FAULTS as error:
                self._failed(error)
                return False
            self.sent.ended = True
            self.sent.save()
        return True


def _reason(error: Exception) -> str:
    """The error in one line without secrets."""
    return redact(" ".join(f"{type(error).__name__}: {error}".split()))[:300]


def main(arguments: list[str] | None = None) -> int:
    """0 when MLflow has everything, 3 when not."""
    parser = argparse.ArgumentParser(prog="python -m infra.tracking.mirror", description="Send a run's journal to MLflow.")
    parser.add_argument("folder", type=Path, help="the run's folder, which holds journal/")
    parser.add_argument("--tracking", help="an MLflow tracking URI; without it, an order is read from the standard input")
    given = parser.parse_args(arguments)
    os.nice(10)  # training comes first
    if given.tracking:
        _Follower(given.folder, given.tracking, EXPERIMENT).follow(lambda seconds: True, patience=20)
        line = owed(given.folder, given.tracking)
        print(line or f"MLflow at {redact(given.tracking)} has all events", file=sys.stderr)
        return 3 if line else 0
    order = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to every process of a job that is stopped; the driver ends this one by closing its input
    settings.configure(worker=True)
    store = Place(order["store"]) if order["store"] else None
    _earlier(given.folder, order["tracking"], order["experiment"], store)
    follower = _Follower(given.folder, order["tracking"], order["experiment"])
    if not follower.follow(lambda seconds: bool(select.select([sys.stdin], [], [], seconds)[0]), order["patience"]):
        return 3
    if store:
        settle(store, given.folder, order["tracking"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
