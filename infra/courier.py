"""What a process exchanges with its run's folder: the flag that says stop comes in; where the folder is remote, the lines of journals go out.

The driver's courier also brings everybody's journals into a local folder, where the view and the mirror read them. One thread a process and
run does all of it, so that neither a training step nor a schedule waits for the store, and what fails here fails nothing else.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid

from infra import settings
from infra.errors import StoreError
from infra.store.place import Place, is_local
from infra.tracking.segments import Arrivals, Segments

STOP = "stop"  # the flag in a run's folder that tells its workers to save their state and end
PERIOD = 2.0  # seconds between two rounds of a courier
FLUSH = 5.0  # seconds that the end of a job waits for its last lines to be there


class Courier:
    """This process and the remote folder of one run."""

    def __init__(self, url: str) -> None:
        self.token = uuid.uuid4().hex[:8]  # no two processes write one segment, whatever their hosts call themselves
        self.stopped = False
        self.problem = ""  # of the last round
        self.keep = ""  # the driver's local folder of this run
        self._segments = Segments(Place(url))
        self._arrivals: Arrivals | None = None
        self._count = self._sent = self._journals = 0  # lines taken, lines that are there, journals that are open
        self._last = 0.0
        self._wake, self._told = threading.Event(), threading.Condition()
        self._started = self._closing = False

    @property
    def lost(self) -> int:
        return self._segments.lost

    def attend(self, folder: str) -> None:
        """Be the driver's: bring all journals into the local folder until `finish`."""
        self.keep, self._arrivals = folder, Arrivals(self._segments.place, folder, self.token)
        self.join()

    def join(self) -> None:
        """A journal was opened."""
        with self._told:
            self._journals += 1
            if not self._started:
                self._started = True
                threading.Thread(target=self._serve, name="courier", daemon=True).start()
        self._wake.set()

    def leave(self) -> None:
        """A journal was closed: wait a little for its lines to be there."""
        self.flush(FLUSH)
        with self._told:
            self._journals -= 1

    def send(self, writer: str, line: bytes) -> None:
        """Take a line; it is there after a round or two, the first after a silence at once."""
        self._segments.add(writer, line)
        with self._told:
            self._count += 1
        if time.monotonic() - self._last > PERIOD or not self._journals:
            self._wake.set()

    def flush(self, seconds: float) -> bool:
        """Whether all that was taken so far is in the store, after `seconds` at the most."""
        target = self._count
        if self._sent < target:
            self._wake.set()
        with self._told:
            return self._told.wait_for(lambda: self._sent >= target, seconds)

    def finish(self, seconds: float = 2 * FLUSH) -> None:
        """The driver's last round: its lines are out, and those of all others in, if the store answers within `seconds`."""
        self.flush(seconds / 2)
        with self._told:
            self._closing = True
            self._wake.set()
            self._told.wait_for(lambda: self._arrivals is None, seconds / 2)
            self._arrivals = None
            self._journals -= 1

    def _serve(self) -> None:
        while True:
            self._wake.wait(PERIOD if self._journals or self._sent < self._count else None)
            self._wake.clear()
            try:
                self._round()
                self.problem = ""
            except Exception as error:  # whatever it is: the next round tries again, and nothing else is touched
                self.problem = f"{type(error).__name__}: {error}"
                if isinstance(error, StoreError) and self._arrivals is None:  # all patience was in vain: better a state on this disk than steps
                    self.stopped = True

    def _round(self) -> None:
        target = self._count
        if self._sent < target:
            self._last = time.monotonic()
            self._segments.send()
            with self._told:
                self._sent = target
                self._told.notify_all()
        if arrivals := self._arrivals:
            last = self._closing
            arrivals.fetch(last)
            if last:
                with self._told:
                    self._arrivals = None
                    self._told.notify_all()
        elif self._journals and not self.stopped:
            self.stopped = self._segments.place.exists(STOP)


COURIERS: dict[str, Courier] = {}
LOCK = threading.Lock()


def courier(url: str) -> Courier:
    """This process's courier for a remote folder."""
    with LOCK:
        return COURIERS.get(url) or COURIERS.setdefault(url, Courier(url))


def here(folder: str) -> str:
    """The folder of a run on this disk: itself, or the counterpart of a remote one, which its driver and this machine's workers share."""
    if is_local(folder):
        return folder
    store, runs, name = folder.rsplit("/", 2)
    return os.path.join(settings.state_folder(store), runs, name)


def told_to_stop(folder: str) -> bool:
    """Whether the run of this folder is to stop, as far as this process has heard."""
    return os.path.exists(os.path.join(here(folder), STOP)) or (not is_local(folder) and courier(folder).stopped)


def tell_to_stop(folder: str) -> None:
    """Raise the flag: at once for this machine, whose workers hear it though the store be away, and for all others as soon as the store takes it."""

    def tell() -> None:
        with contextlib.suppress(StoreError):
            Place(folder).write(STOP, b"")

    with contextlib.suppress(StoreError):  # a full disk: the flag in the store is left
        Place(here(folder)).write(STOP, b"")
    if not is_local(folder):
        teller = threading.Thread(target=tell, name="stop-flag", daemon=True)
        teller.start()
        teller.join(FLUSH)
