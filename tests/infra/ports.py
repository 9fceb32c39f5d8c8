"""Ports for servers: below those that the system gives to connections by itself, so that none takes one between two starts of its server."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

LAST = 32_000  # Linux gives away 32768 to 60999, and Ray's workers have 10002 to 19999


def taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def untaken(first: int) -> Iterator[int]:
    """From a port on, each that nobody listens on."""
    yield from (port for port in range(first, LAST) if not taken(port))
    raise OSError(f"no port from {first} to {LAST} is free")


_own = untaken(20_000 + os.getpid() * 8 % 11_000)


def free() -> int:
    """A port that nobody listens on, and that this process has not given before."""
    return next(_own)
