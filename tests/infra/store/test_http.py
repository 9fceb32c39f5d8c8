"""Web addresses: what leads to a link-local address is refused, whether it is written, named or redirected to."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import fsspec
import pytest

from components.weights import files
from infra import settings
from infra.errors import Forbidden
from infra.store import http as guarded

METADATA = "169.254.169.254"


class Redirect(http.server.BaseHTTPRequestHandler):
    """Sends everyone to where a cloud machine keeps its credentials."""

    def do_GET(self) -> None:
        moved = self.path == "/moved"
        self.send_response(302 if moved else 200)
        self.send_header("Location", f"http://{METADATA}/latest/meta-data") if moved else self.send_header("Content-Length", "5")
        self.end_headers()
        if self.command == "GET" and not moved:
            self.wfile.write(b"bytes")

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.configure()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    monkeypatch.undo()
    settings.configure()
    files._filesystem.cache_clear()


def test_a_link_local_address_is_refused_however_one_gets_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.content(f"{url}/file") == b"bytes"
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: real(METADATA if host == "inner.example" else host, *a, **k))
    for bad in (f"http://{METADATA}/latest", f"{url}/moved", "http://inner.example/latest"):
        for read in (files.content, lambda at: fsspec.open(at).open().read()):
            with pytest.raises(Forbidden, match="STOCKPOT_ALLOW_HOSTS") as caught:
                read(bad)
            assert caught.value.exit_code == 5
    for address in (f"::ffff:{METADATA}", "fe80::1%eth0", "fd00:ec2::254"):
        with pytest.raises(Forbidden):
            guarded.connected((socket.AF_INET6, socket.SOCK_STREAM, 0, "", (address, 80)), ())


def test_what_is_allowed_is_reached(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOCKPOT_ALLOW_HOSTS", "localhost")
    settings.configure()
    monkeypatch.setattr(guarded, "FORBIDDEN", [guarded.ipaddress.ip_network("127.0.0.0/8")])
    assert fsspec.open(f"{url}/file").open().read() == b"bytes"
    monkeypatch.delenv("STOCKPOT_ALLOW_HOSTS")
    settings.configure()
    with pytest.raises(Forbidden):
        fsspec.open(f"{url}/file").open().read()
