"""What every test runs under: one thread, offline, no settings of the person who runs it."""

from __future__ import annotations

import os

for name in [n for n in os.environ if n.startswith(("STOCKPOT_", "MLFLOW_", "AWS_", "RAY_"))]:
    del os.environ[name]
# Before numpy or torch is imported anywhere: their thread pools are made once.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
}

import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("stockpot", deadline=None, derandomize=True, database=None)
settings.load_profile("stockpot")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skip", action="store_true", help="a skipped test fails, unless it needs a GPU: what CI runs with")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.config.getoption("--no-skip") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if "GPU" not in reason:
            report.outcome, report.longrepr = "failed", f"{item.nodeid} was skipped under --no-skip: {reason}"
    return report


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of headless Chromium; the test is skipped by name where it is missing."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or pytest.skip("needs the Debian package chromium")


@pytest.fixture(scope="session")
def fashion_mnist() -> Path:
    """Folder of Fashion-MNIST's four gzipped idx files."""
    folder = Path("/usr/share/datasets/fashion-mnist")
    return folder if folder.is_dir() else pytest.skip("needs the Debian package dataset-fashion-mnist")


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Generator[None, None, None]:
    """What this machine knows of runs in remote stores is this session's own: a flag that says stop, left by an earlier one, would stop these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STOCKPOT_STATE", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def tracking() -> Generator[None, None, None]:
    """Which MLflow a test used is its own affair: `mlflow.set_tracking_uri` puts it into the environment, and so into every command begun later."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
