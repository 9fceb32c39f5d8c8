"""What goes wrong between a merge and its store: one line, the right exit code, nothing half done to be found, ingredients untouched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest

from components.types import DataError
from components.weights import Checkpoint, files, mean
from components.weights.files import CHUNK
from components.weights.policy import NotFinite
from infra import settings
from tests.s3.models import CONFIG, MODEL, SPEC, Bucket, model
from tests.s3.proxy import Fault, proxied, seeded
from tests.s3.seaweed import GUEST, Server

pytestmark = pytest.mark.s3

ROOT = Path(__file__).parents[2]


@pytest.fixture
def urls(bucket: Bucket) -> list[str]:
    """Three models of two and a half chunks."""
    for i in range(3):
        model(i).save(bucket.url(f"models/{i}"))
    return [bucket.url(f"models/{i}") for i in range(3)]


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines", *words]
    given = {**os.environ, **environment}
    return subprocess.Popen(command, cwd=ROOT, env=given, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*words: str, **environment: str) -> tuple[int, str]:
    """(exit code, standard error) of a command."""
    process = start(*words, **environment)
    _, told = process.communicate(timeout=180)
    return process.returncode, told


def nothing_at(bucket: Bucket, name: str) -> bool:
    return not bucket.uploads() and not [key for key in bucket.names() if key.startswith(name)]


def test_an_ingredient_that_goes_or_shrinks_after_planning_is_named(bucket: Bucket, urls: list[str]) -> None:
    gone, shorter = (mean([Checkpoint(url) for url in urls]) for _ in range(2))
    assert gone.assembly and shorter.assembly
    content = bucket.content(f"models/1/{MODEL}")
    bucket.client.put_object(Bucket=bucket.name, Key=f"models/1/{MODEL}", Body=content[: CHUNK + 5])
    with pytest.raises(DataError, match=r"models/1/.* is truncated: expected"):
        shorter.save(bucket.url("soup"))
    bucket.client.delete_object(Bucket=bucket.name, Key=f"models/1/{MODEL}")
    with pytest.raises(DataError, match=r"models/1/.* was there and is gone"):
        gone.save(bucket.url("soup"))
    assert nothing_at(bucket, "soup")


def test_a_failure_in_the_last_chunk_leaves_nothing(bucket: Bucket, urls: list[str]) -> None:
    tensors = dict(model(7).tensors())
    tensors["visual.9.weight"] = np.full_like(tensors["visual.9.weight"], np.nan)
    Checkpoint.of(tensors, SPEC).save(bucket.url("models/bad"))
    with pytest.raises(NotFinite, match=r"visual\.9\.weight"):
        mean([Checkpoint(url) for url in (*urls, bucket.url("models/bad"))]).save(bucket.url("soup"))
    assert nothing_at(bucket, "soup")


def test_what_came_to_the_destination_meanwhile_is_left_as_it_is(bucket: Bucket, urls: list[str]) -> None:
    """Another merge ends in the middle of this one."""
    before: dict[str, bytes] = {}

    def another(done: int, total: int) -> None:
        if not before:
            Checkpoint(urls[2]).save(bucket.url("soup"))
            before.update({key: bucket.content(key) for key in bucket.names() if key.startswith("soup")})

    with pytest.raises(ValueError, match="exists already"):
        mean([Checkpoint(url) for url in urls]).save(bucket.url("soup"), progress=another)
    assert not bucket.uploads() and {key: bucket.content(key) for key in bucket.names() if key.startswith("soup")} == before
    code, told = run("merge", "uniform", *urls, "--out", bucket.url("soup"))
    assert code == 2 and told.count("\n") == 1 and "holds a model already" in told


def test_two_merges_that_end_together_leave_the_files_of_one(bucket: Bucket, urls: list[str]) -> None:
    """The other one has completed its weights, and not yet its configuration."""

    def another(done: int, total: int) -> None:
        if f"soup/{MODEL}" not in bucket.names():
            bucket.client.put_object(Bucket=bucket.name, Key=f"soup/{MODEL}", Body=b"theirs", IfNoneMatch="*")

    with pytest.raises(ValueError, match="written by another command meanwhile"):
        mean([Checkpoint(url) for url in urls]).save(bucket.url("soup"), progress=another)
    assert bucket.content(f"soup/{MODEL}") == b"theirs" and not bucket.uploads()


def test_a_killed_merge_leaves_no_checkpoint_and_the_same_command_succeeds(bucket: Bucket, urls: list[str]) -> None:
    words = ["merge", "uniform", *urls, "--out", bucket.url("soup")]
    process = start(*words)
    until = time.monotonic() + 60
    while not any(bucket.client.list_parts(Bucket=bucket.name, Key=one["Key"], UploadId=one["UploadId"]).get("Parts") for one in bucket.uploads()):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert not [key for key in bucket.names() if key.startswith("soup")]
    bucket.client.put_object(Bucket=bucket.name, Key=f"soup/{MODEL}", Body=b"what one leaves that is killed between weights and configuration")
    assert run(*words)[0] == 0
    Checkpoint(bucket.url("soup"), check=True).verify()
    mean([model(i) for i in range(3)]).save(bucket.url("again"))
    assert bucket.content(f"soup/{MODEL}") == bucket.content(f"again/{MODEL}")


@pytest.mark.parametrize(
    "fault", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "nobody"}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, {}]
)
def test_a_store_that_refuses_is_one_line(bucket: Bucket, urls: list[str], fault: dict[str, str], tmp_path: Path) -> None:
    """Wrong credentials and no connection, at the first look; a bucket that does not exist, when the result is to be written."""
    model(0, 0.1).save(str(tmp_path / "a"))
    out = bucket.url("soup") if fault else "s3://nowhere-at-all/soup"
    models = urls if "AWS_ENDPOINT_URL" not in fault else [str(tmp_path / "a"), str(tmp_path / "a")]
    code, told = run("merge", "uniform", *models, "--out", out, **(fault or {"AWS_ACCESS_KEY_ID": GUEST}))
    assert code == 4 and told.count("\n") == 1 and told.startswith("stockpot: s3://"), told
    assert nothing_at(bucket, "soup")


def test_a_store_of_runs_that_does_not_answer_is_one_line() -> None:
    code, told = run("show", "--store", "s3://test/store", AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
    assert code == 4 and told.count("\n") == 1 and "http://127.0.0.1:9" in told, told


def test_a_bad_network_is_survived(bucket: Bucket, urls: list[str], server: Server, tmp_path: Path) -> None:
    likely = {"SlowDown": 0.1, "cut": 0.1, "reset": 0.05}
    with proxied(server.port, seeded(0, likely)) as proxy:
        code, told = run("merge", "uniform", *urls, "--out", bucket.url("soup"), AWS_ENDPOINT_URL=proxy.url)
    assert code == 0, told
    assert set(likely) <= set(proxy.faults)
    mean([Checkpoint(url) for url in urls]).save(str(tmp_path / "soup"))
    assert bucket.content(f"soup/{MODEL}") == (tmp_path / "soup" / MODEL).read_bytes()
    assert f"soup/{CONFIG}" in bucket.names()


def test_what_was_verified_is_checked_wherever_it_is_read_again(
    bucket: Bucket, urls: list[str], server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 has no checksum for a part of an object: one wrong byte is asked for again, and a second one is told."""
    faults: list[Fault] = []
    good = [Checkpoint(url) for url in urls]
    mean(good).save(str(tmp_path / "expected"))
    with proxied(server.port, lambda method, path, query, headers: faults.pop() if faults and "Range" in headers else None) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        files._filesystem.cache_clear()
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        models = [Checkpoint.load(url) for url in urls]
        for each in models:
            each.verify()
        faults[:] = [Fault("down")]
        mean(models).save(str(tmp_path / "soup"))
        assert proxy.faults["down"] == 1
        assert (tmp_path / "soup" / MODEL).read_bytes() == (tmp_path / "expected" / MODEL).read_bytes()
        faults[:] = [Fault("down")] * 50
        with pytest.raises(DataError, match=r"comes with other bytes than when it was verified; run again"):
            mean(models).save(str(tmp_path / "other"))
        faults.clear()
    files._filesystem.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_an_upload_that_nobody_reads_is_sent_again(bucket: Bucket, server: Server) -> None:
    """A server that takes the connection, and then neither asks for the body nor refuses it: an HTTP client's time for an answer begins later."""
    settings.configure()
    stalls = [Fault("stall", part=0.0)]
    with proxied(server.port, lambda method, *_: stalls.pop() if stalls and method == "PUT" else None) as proxy:
        client = fsspec.filesystem("s3", endpoint_url=proxy.url, config_kwargs={"read_timeout": 0.5})
        client.pipe_file(bucket.url("a"), b"content")
        assert bucket.content("a") == b"content" and proxy.faults["stall"] == 1


def test_an_answer_that_is_lost_on_a_used_connection_is_no_rival(bucket: Bucket, server: Server) -> None:
    """There the HTTP client itself sends the request again, so that the first answer that is seen may be the refusal of one's own object."""
    settings.configure()
    faults: list[Fault] = []
    with proxied(server.port, lambda method, *_: faults.pop() if faults and method == "PUT" else None) as proxy:
        client = fsspec.filesystem("s3", endpoint_url=proxy.url)
        for number in range(3):
            faults[:] = [Fault("lost")] * min(number, 1)
            client.pipe_file(bucket.url(f"{number}"), b"content", mode="create")
        assert proxy.faults["lost"] == 2 and bucket.names() == ["0", "1", "2"]
        with pytest.raises(OSError, match="pre-conditions"):
            client.pipe_file(bucket.url("2"), b"another", mode="create")
