"""Planted secrets: in the environment, in addresses of data, stores and servers, in YAML, and in what a server answers. None is found again."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pipelines.__main__ import main

PLANT = "hunter2"  # part of each secret
ROOT = Path(__file__).resolve().parents[2]
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": f"{PLANT}/key+of/aws", "AWS_SESSION_TOKEN": f"{PLANT}-session-token",
    "MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": f"{PLANT}-of-mlflow",
}  # fmt: skip


def digits() -> bytes:
    """A few pictures of two classes as .npz."""
    from sklearn.datasets import load_digits

    found = load_digits()
    kept = found.target < 2
    images = np.kron(found.images[kept][:120] * 15, np.ones((4, 4))).astype(np.uint8)
    file = io.BytesIO()
    np.savez(file, images=images, labels=found.target[kept][:120])
    return file.getvalue()


class Echo(BaseHTTPRequestHandler):
    """Gives data to whoever has a signed address, `once.npz` but once. All others are refused in words that repeat their secrets."""

    content, given = digits(), 0

    def log_message(self, *words: object) -> None:
        pass

    def answer(self) -> None:
        path, _, query = self.path.partition("?")
        Echo.given += path == "/once.npz" and self.command == "GET"
        if path.endswith(".npz") and query and (path != "/once.npz" or Echo.given < 2):
            whole, given = type(self).content, self.headers.get("Range", "")
            first, _, last = given.removeprefix("bytes=").partition("-")
            part = whole[int(first) : int(last or len(whole) - 1) + 1] if given else whole
            self.send_response(206 if given else 200)
            if given:
                self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(whole)}")
            self.send_header("ETag", '"one"')
            self.send_header("Accept-Ranges", "bytes")
        else:
            echo = f"{self.path} {dict(self.headers)} {SECRETS['AWS_SECRET_ACCESS_KEY']}".replace("&", "&amp;").replace("<", "")
            part = f"<Error><Code>AccessDenied</Code><Message>no: {echo}</Message></Error>".encode()
            self.send_response(403, "no: " + SECRETS["AWS_SESSION_TOKEN"])
            self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(part)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer


class World:
    """A home for all that a command leaves, and all that it said."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port, self.said = home, port, ""
        self.signed = f"http://127.0.0.1:{port}/flowers.npz?X-Amz-Credential={PLANT}&X-Amz-Signature={PLANT}"
        self.endpoint = f"http://me:{PLANT}@127.0.0.1:{port}/?token={PLANT}"

    def stockpot(self, code: int, *words: object, **environment: str) -> str:
        """What a command says, which ends with this code."""
        places = {name: str(self.home / name[-5:]) for name in ("HOME", "TMPDIR", "RAY_TMPDIR", "STOCKPOT_CACHE", "XDG_STATE_HOME")}
        for path in places.values():
            os.makedirs(path, exist_ok=True)
        own = {"PYTHONPATH": str(ROOT), "STOCKPOT_PATIENCE": "2", "AWS_EC2_METADATA_DISABLED": "true"}
        env = {**os.environ, **SECRETS, **places, **own, **environment}
        command = [sys.executable, "-m", "pipelines", *map(str, words)]
        done = subprocess.run(command, env=env, cwd=self.home, capture_output=True, text=True, timeout=600)
        self.said += done.stdout + done.stderr
        assert done.returncode == code, (words, done.stdout[-2000:], done.stderr[-4000:])
        return done.stdout + done.stderr

    def found(self) -> list[str]:
        """Where the plant is."""
        files = [path for path in self.home.rglob("*") if path.is_file() and not path.is_symlink()]
        places = [str(path) for path in files if PLANT.encode() in path.read_bytes()] + [str(path) for path in self.home.rglob(f"*{PLANT}*")]
        return places + [line for line in self.said.splitlines() if PLANT in line]


@pytest.fixture
def world() -> Iterator[World]:
    Echo.given = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server, tempfile.TemporaryDirectory(prefix="s-") as home:  # a short name, for Ray's sockets
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield World(Path(home), server.server_port)
        server.shutdown()


SMOKE = ("--task.classes", "[zero, one]", "--task.steps", 4, "--trials", 2, "--alphas", "[0.5]")


FAILS = 4


def own(world: World, url: str) -> list[object]:
    return ["soup", "smoke", "--task", "Own", "--task.url", url, "--store", world.home / "store", *SMOKE]


BACKENDS = [pytest.param("none", marks=pytest.mark.slow), pytest.param("local", marks=pytest.mark.cluster)]


@pytest.mark.parametrize("ray", BACKENDS)
def test_no_command_leaves_a_secret(ray: str, world: World) -> None:
    study = own(world, world.signed)
    store = ["--store", world.home / "store"]
    assert "1 file read" in world.stockpot(0, "pin", world.signed, *store)
    world.stockpot(0, "plan", *study)
    world.stockpot(0, "run", *study, "--ray", ray)
    for words in (["show"], ["report", *study], ["doctor", *study, "--tracking", "none"], ["verify"]):
        world.stockpot(0, *words, *(store if len(words) == 1 else []))
    model = next((world.home / "store").glob("greedy-*/attempts/*/open_clip_config.json")).parent
    world.stockpot(0, "eval", model, "--data", "Npz", "--data.url", world.signed)
    world.stockpot(0, "merge", "uniform", model, model, "--out", world.home / "merged")
    assert (world.home / "store" / "mlflow.db").stat().st_size > 100_000
    assert not world.found()


@pytest.mark.parametrize("ray", BACKENDS)
def test_no_failure_leaves_a_secret(ray: str, world: World) -> None:
    refused = f"http://127.0.0.1:{world.port}/flowers.parquet?X-Amz-Signature={PLANT}"
    remote = {"AWS_ENDPOINT_URL": world.endpoint}
    world.stockpot(4, "run", "soup", "smoke", "--store", "s3://bucket/store", **remote)
    world.stockpot(4, "--debug", "show", "--store", "s3://bucket/store", **remote)
    world.stockpot(4, "doctor", "--store", "s3://bucket/store", "--tracking", f"http://127.0.0.1:{world.port}", **remote)
    world.stockpot(4, "merge", "uniform", "s3://bucket/a", "s3://bucket/b", "--out", world.home / "merged", **remote)
    for words in (["plan", *own(world, refused)], ["pin", refused, "--store", world.home / "store"], ["run", *own(world, refused), "--ray", ray]):
        assert "flowers.parquet" in world.stockpot(2 if words[0] != "plan" else 0, *words, "--debug")
    once = own(world, world.signed.replace("flowers", "once"))
    told = world.stockpot(FAILS, "run", *once, "--ray", ray, MLFLOW_TRACKING_URI=f"http://me:{PLANT}@127.0.0.1:{world.port}")
    assert "MLflow at http://***@127.0.0.1" in told and list((world.home / "store").glob("*/failure.json"))
    assert list((world.home / "store").glob("runs/*/backend.log")) and not world.found()


REFUSED = [
    ["run", "soup", "--store", f"s3://key:{PLANT}@bucket/store"],
    ["pin", f"s3://{PLANT}@bucket/data"],
    ["run", "soup", "--tracking", f"postgresql://u:{PLANT}@host/db"],
    ["run", "soup", f"--tracking=https://u:{PLANT}@host"],
    ["eval", "model", "--data", f"Npz('https://u:{PLANT}@host/x.npz')"],
    ["run", "soup", "--aws-secret-access-key", PLANT],
    ["run", "soup", f"--password={PLANT}"],
]


@pytest.mark.parametrize("words", REFUSED)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert PLANT not in told.out + told.err and told.err.count("\n") == 1 and "set " in told.err


@pytest.mark.parametrize("line", [f"store: s3://key:{PLANT}@bucket/store", f"task: {{secret_key: {PLANT}}}", f"tracking: 'postgresql://u:{PLANT}@h/x'"])
def test_a_secret_in_yaml_is_refused_and_not_repeated(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_text(line)
    assert main(["plan", "soup", "--config", str(tmp_path / "study.yaml")]) == 2
    told = capsys.readouterr()
    assert PLANT not in told.out + told.err and told.err.count("\n") == 1 and "set " in told.err
