"""Ports for servers: below those that the system gives to connections by itself, so that none takes one between two starts of its server."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 20_000, 32_000  # Linux gives away 32768 to 60999, and Ray's workers have 10002 to 19999
LOCKS = Path(tempfile.gettempdir(), f"stockpot-ports-{os.getuid()}")


def taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free() -> int:
    """A port that nobody listens on, and that is given to nobody else as long as this process lives."""
    LOCKS.mkdir(exist_ok=True)
    for port in range(FIRST + os.getpid() * 16 % (LAST - FIRST - 1000), LAST):
        lock = os.open(LOCKS / str(port), os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by the descriptor, which is never closed
        except BlockingIOError:
            os.close(lock)
            continue
        if not taken(port):
            return port
        os.close(lock)
    raise OSError(f"no port below {LAST} is free")
