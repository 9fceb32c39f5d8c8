"""Bytes done, bytes a second and the time to go, on the error stream: a bar where that is a terminal, a line now and then where it is not."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from infra import settings
from pipelines.commands.text import clock, size

Progress = Callable[[int, int], None]  # bytes done, bytes in all; from any thread


@contextlib.contextmanager
def shown(what: str) -> Iterator[Progress | None]:
    """What to call with the bytes that are done, or None where nobody watches."""
    if not settings.on_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class Meter:
    """The progress of a command that reads or writes `total` bytes: a bar for who watches, for a log a line every `EVERY` seconds."""

    EVERY = 10.0

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self._bar = shown(what)
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Meter:
        self._tell = self._bar.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.__exit__(kind, error, trace)

    def add(self, count: int) -> None:
        """So many bytes more are done."""
        self.done += count
        now = time.monotonic()
        if self._tell:
            self._tell(self.done, self.total)
        elif now - self._told > self.EVERY:
            self._told = now
            rate = self.done / (now - self._began)
            left = clock((self.total - self.done) / rate) if rate else "?"
            print(f"{self.what}: {size(self.done)} of {size(self.total)}, {size(rate)}/s, {left} to go", file=sys.stderr, flush=True)
