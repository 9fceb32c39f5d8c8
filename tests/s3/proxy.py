"""A bad network: connections to a server that end in the middle of an answer, and answers that ask for patience."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
PATIENCE = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BUSY) + BUSY


class Proxy:
    """Listens on `port`. Of the connections it takes, those in `cut` (by number) end after so many bytes of answers, those in `busy` are put off."""

    def __init__(self, server: int, cut: dict[int, int], busy: set[int]) -> None:
        self.server, self.cut, self.busy = server, cut, busy
        self.count, self.faults = 0, list[str]()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self.listener.accept()
                number, self.count = self.count, self.count + 1
                threading.Thread(target=self.pass_on, args=(client, number), daemon=True).start()

    def pass_on(self, client: socket.socket, number: int) -> None:
        with client, contextlib.suppress(OSError):
            if number in self.busy:
                client.recv(1 << 16)
                self.faults.append("busy")
                client.sendall(PATIENCE)
                return
            with socket.create_connection(("127.0.0.1", self.server)) as server:
                threading.Thread(target=copy, args=(client, server), daemon=True).start()
                if copy(server, client, self.cut.get(number)):
                    self.faults.append("cut")


def copy(source: socket.socket, target: socket.socket, most: int | None = None) -> bool:
    """Pass bytes on until the source ends, or until `most` were: then both ends are cut, and it is true."""
    with contextlib.suppress(OSError):
        while content := source.recv(1 << 16):
            target.sendall(content)
            most = most if most is None else most - len(content)
            if most is not None and most <= 0:
                for end in (source, target):
                    end.shutdown(socket.SHUT_RDWR)
                return True
        target.shutdown(socket.SHUT_WR)
    return False


@contextlib.contextmanager
def proxied(server: int, cut: dict[int, int], busy: set[int]) -> Iterator[Proxy]:
    proxy = Proxy(server, cut, busy)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.listener.close()
