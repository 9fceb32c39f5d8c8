"""A bar with bytes a second and the time to go, on the error stream where that is a terminal, and nothing where it is not."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from infra import settings

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
