"""A study with store and MLflow's artifacts in a bucket: the page and the figures are artifacts, weights are referenced and lie there once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.tracking.server import Server as Mlflow
from tests.s3.models import Bucket
from tests.s3.seaweed import Server

pytestmark = [pytest.mark.s3, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
LIMIT = 600  # seconds for a study of a minute


@pytest.fixture
def mlflow(server: Server, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mlflow]:
    """As docs/tracking.md has it: the server passes artifacts on to the bucket, and nobody else needs to reach that."""
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", server.environment["AWS_ENDPOINT_URL"])
    made = Mlflow(tmp_path, artifacts=bucket.url("mlflow"))
    made.start()
    yield made
    made.kill()


def stockpot(folder: Path, *words: str) -> str:
    environment = {**os.environ, "STOCKPOT_STATE": str(folder / "state"), "STOCKPOT_CACHE": str(folder / "cache")}
    done = subprocess.run([sys.executable, "-m", "pipelines", *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_is_an_artifact_and_the_weights_are_not(mlflow: Mlflow, bucket: Bucket, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    store = bucket.url("store")
    said = stockpot(tmp_path, "run", "soup", "smoke", "--store", store, "--ray", "none", "--tracking", mlflow.url)
    assert f"page    {store}/reports/soup-smoke-" in said

    kept = [name for name in bucket.names() if name.startswith("mlflow/")]
    for wanted in ("/index.html", "/table.csv", "/figures/scatter.png"):
        assert [name for name in kept if name.endswith(wanted)], kept
    assert not [name for name in kept if name.endswith(".safetensors")]
    page = next(name for name in bucket.names() if name.startswith("store/reports/") and name.endswith("index.html"))
    assert bucket.client.head_object(Bucket=bucket.name, Key=page)["ContentType"] == "text/html; charset=utf-8"
    assert bucket.content(page) == bucket.content(next(name for name in kept if name.endswith("index.html")))

    client = MlflowClient(tracking_uri=mlflow.url)
    experiment = client.get_experiment_by_name("stockpot")
    assert experiment is not None
    models = client.search_logged_models([experiment.experiment_id])
    assert models and all(model.tags["stockpot.uri"].startswith(store) for model in models)
    curves = [run for run in client.search_runs([experiment.experiment_id]) if "loss" in run.data.metrics]
    assert len(curves) >= 2 and {run.info.status for run in curves} == {"FINISHED"}

    stockpot(tmp_path, "report", "soup", "smoke", "--store", store, "--out", str(tmp_path / "page"))
    assert (tmp_path / "page" / "index.html").read_text().startswith("<!doctype html>")
    assert "finished" in stockpot(tmp_path / "elsewhere", "show", "--store", store)  # another machine lists the run
