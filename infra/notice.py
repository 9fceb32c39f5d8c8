"""Notice to a worker that it has to go: it saves its training state at the next step, and leaves; another one goes on from there.

SIGTERM gives notice, and so may anything that knows of a machine's end. A second SIGTERM ends the process at once.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_given = threading.Event()


def heed() -> None:
    """From now on SIGTERM is a notice to this process. Only a main thread can say so; elsewhere the signal stays what it is."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _told)


def _told(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    give()


def give() -> None:
    _given.set()


def given() -> bool:
    return _given.is_set()
