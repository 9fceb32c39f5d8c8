"""`doctor`: a line for each thing that a run needs, and the exit code of what is missing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

from infra.store import Store
from pipelines.commands import doctor
from pipelines.commands.studies import Options

Stockpot = Callable[..., subprocess.CompletedProcess[str]]


def test_all_is_well_and_nothing_is_left_behind(stockpot: Stockpot, tmp_path: Path) -> None:
    done = stockpot("doctor", "soup", "smoke", "--store", tmp_path / "store", "--tracking", "none")
    assert done.returncode == 0, done.stdout
    assert "everything is there" in done.stdout and "60 examples, 10 classes" in done.stdout
    assert "a second exclusive creation is refused" in done.stdout
    assert list((tmp_path / "store").iterdir()) == []


def test_each_thing_that_is_missing_is_told_with_the_rest(stockpot: Stockpot, tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.png").write_bytes(b"no image")
    words = ["--task", "Own", "--task.url", tmp_path, "--store", "/dev/null/store", "--tracking", "http://127.0.0.1:9"]
    done = stockpot("doctor", "soup", "smoke", *words)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert [line.split()[1] for line in failed] == ["store:", "store:", "mlflow", "data"]
    assert any("one class folder (only)" in line for line in failed)


class Old(BaseHTTPRequestHandler):
    """What a tracking server of years ago answers."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"1.2.3")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Guarded(Old):
    """What a server answers that knows its users."""

    def do_GET(self) -> None:
        self.send_error(401)


def test_a_tracking_server_with_users_is_no_failure() -> None:
    with HTTPServer(("127.0.0.1", 0), Guarded) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_address[1]}"
        assert doctor.tracking(Options(tracking=uri), Store("memory://nowhere")) == f"{uri} answers, and tells its version to users alone"
        server.shutdown()


def test_what_does_not_match_and_what_does_not_answer_is_told(stockpot: Stockpot, tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Old) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_address[1]}"
        done = stockpot("doctor", "--store", tmp_path / "store", "--tracking", uri, "--ray", "127.0.0.1:9")
        server.shutdown()
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert done.returncode == 4 and len(failed) == 2
    assert "no Ray answers at 127.0.0.1:9" in failed[0] and "check --ray" in failed[0]
    assert "is MLflow 1.2.3, the client here is" in failed[1] and "pip install mlflow==1.2.3" in failed[1]
