"""The mirror on a real MLflow (sqlite): everything is there, once, true, and nothing that goes wrong costs an event."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.store.place import Place
from infra.tracking import mirror, owed
from infra.tracking.journal import Journal, read
from infra.tracking.sent import Sent
from tests.infra.tracking.server import WAIT, Server


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables: making one takes seconds."""
    from mlflow import MlflowClient

    from infra.tracking.entities import configure

    configure()
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(tmp_path: Path, empty: Path) -> Path:
    shutil.copy(empty, tmp_path / "mlflow.db")
    return tmp_path


def node(journal: Journal, fingerprint: str, state: str, **fields: Any) -> None:
    label = f"trial {fingerprint[-1]}"
    journal.write("node", fingerprint=fingerprint, function="train", label=label, state=state, is_checkpoint=True, **fields)


def study(store: Path, run: str = "run-1", trials: int = 3, steps: int = 4) -> Path:
    """The journal of a whole run: a driver and a writer for each trial."""
    folder = store / "runs" / run
    journal = Journal(folder, "driver")
    params = {"trials": trials, "task": {"name": "x"}}
    journal.write("run", run=run, study="soup", preset="smoke", command="stockpot run soup smoke", params=params)
    journal.write("node", fingerprint="base", label="base", state="hit", uri="store/base", is_checkpoint=True)
    for trial in range(trials):
        fingerprint = f"trial-{trial}"
        node(journal, fingerprint, "running", params={"update.lr": 0.1 / (trial + 1)})
        worker = Journal(folder, f"worker-{trial}")
        for step in range(steps):
            worker.write("metric", fingerprint=fingerprint, step=step, values={"loss": 1 / (step + 1)})
        node(journal, fingerprint, "done", uri=f"store/train-{fingerprint}", digest=str(trial) * 64, duration=1.5)
        journal.write("score", fingerprint=fingerprint, split="test", metric="top1", value=0.9 + trial / 100, n=360)
    journal.write("score", label="ensemble", split="test", metric="top1", value=0.95, n=360)
    journal.write("champion", fingerprint="trial-2", uri="store/train-trial-2", digest="2" * 64, name="digits")
    (folder / "page.html").write_text("<h1>soup</h1>")
    journal.write("artifact", path="page.html")
    journal.write("artifact", path="not/there.png")
    journal.write("end", status="finished")
    return folder


def held(tracking: str) -> dict[str, Any]:
    """What an MLflow server holds, without the ids that it made up."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking)
    experiments = [e.experiment_id for e in client.search_experiments() if e.name == mirror.EXPERIMENT]
    runs = client.search_runs(experiments) if experiments else []
    names = {run.info.run_id: run.info.run_name for run in runs}
    models = client.search_logged_models(experiments) if experiments else []

    def ours(tags: dict[str, str]) -> list[tuple[str, str]]:
        return sorted((key, value) for key, value in tags.items() if key.startswith("stockpot."))

    def points(run: Any) -> list[Any]:
        found = {key: client.get_metric_history(run.info.run_id, key) for key in sorted(run.data.metrics)}
        return [(key, [(point.step, point.value, point.timestamp) for point in history]) for key, history in found.items()]

    return {
        "runs": sorted(
            (
                run.info.run_name,
                run.info.status,
                names.get(run.data.tags.get("mlflow.parentRunId", "")),
                sorted(run.data.params.items()),
                ours(run.data.tags),
                points(run),
                sorted(file.path for file in client.list_artifacts(run.info.run_id)),
            )
            for run in runs
        ),
        "models": sorted(
            (model.name, str(model.status), ours(model.tags), [(metric.key, metric.value) for metric in model.metrics or []])
            for model in models
        ),
        "versions": sorted(
            (version.name, ours(version.tags), sorted((a, int(v)) for a, v in client.get_registered_model(version.name).aliases.items()))
            for version in client.search_model_versions()
        ),
    }


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> tuple[Path, dict[str, Any]]:
    """A journal and what MLflow holds of it when nothing goes wrong."""
    store = tmp_path_factory.mktemp("undisturbed")
    shutil.copy(empty, store / "mlflow.db")
    folder = study(store)
    assert mirror.replay(store, mirror.local(store), everything=True) == []
    return folder, held(mirror.local(store))


@pytest.fixture
def copied(store: Path, undisturbed: tuple[Path, dict[str, Any]]) -> Path:
    """The same journal in a store of its own, of which MLflow has nothing yet."""
    shutil.copytree(undisturbed[0], store / "runs" / "run-1", ignore=shutil.ignore_patterns("mirror"))
    return store / "runs" / "run-1"


def test_a_run_is_all_there(undisturbed: tuple[Path, dict[str, Any]]) -> None:
    there = undisturbed[1]
    runs = {run[0]: run for run in there["runs"]}
    assert sorted(runs) == ["soup smoke", "trial 0", "trial 1", "trial 2"]
    assert {run[1] for run in there["runs"]} == {"FINISHED"}
    assert {run[2] for name, run in runs.items() if name != "soup smoke"} == {"soup smoke"}
    assert ("task.name", "x") in runs["soup smoke"][3] and runs["soup smoke"][6] == ["page.html"]
    assert [key for key, _ in runs["soup smoke"][5]] == ["ensemble/test/top1"]
    trial = runs["trial 2"]
    assert ("stockpot.digest", "2" * 64) in trial[4] and ("stockpot.uri", "store/train-trial-2") in trial[4]
    assert [(key, [point[:2] for point in points]) for key, points in trial[5]] == [
        ("loss", [(0, 1.0), (1, 0.5), (2, 1 / 3), (3, 0.25)]),
        ("test/top1", [(0, 0.92)]),
    ]
    assert [(model[0], model[3]) for model in there["models"]] == [(f"trial {i}", [("test/top1", 0.9 + i / 100)]) for i in range(3)]
    assert [(name, dict(tags)["stockpot.digest"], aliases) for name, tags, aliases in there["versions"]] == [
        ("digits", "2" * 64, [("champion", 1)])
    ]


def test_sending_everything_again_changes_nothing(undisturbed: tuple[Path, dict[str, Any]], copied: Path) -> None:
    tracking = mirror.local(copied.parents[1])
    for _ in range(3):
        assert mirror.replay(copied.parents[1], tracking, everything=True) == []
        shutil.rmtree(copied / "mirror")  # all knowledge of what was sent
    assert held(tracking) == undisturbed[1]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_mirror_that_dies_anywhere_changes_nothing(undisturbed: tuple[Path, dict[str, Any]], copied: Path, seed: int) -> None:
    """The real process is killed after a number of its calls, by a limit on its life that differs from try to try."""
    store, tracking = copied.parents[1], mirror.local(copied.parents[1])
    for number in range(4):
        command = [sys.executable, "-m", "infra.tracking.mirror", str(copied), "--tracking", tracking]
        child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            child.wait(2.6 + 0.35 * number + 0.1 * seed)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    assert mirror.replay(store, tracking, everything=True) == []
    assert held(tracking) == undisturbed[1]


def test_a_run_of_hits_leaves_nothing(store: Path) -> None:
    journal = Journal(store / "runs" / "again", "driver")
    journal.write("run", run="again", study="soup")
    journal.write("node", fingerprint="a", function="train", state="hit", uri="store/a", digest="a" * 64, is_checkpoint=True)
    journal.write("score", fingerprint="a", split="test", metric="top1", value=0.5, n=2)
    journal.write("end", status="finished")
    assert mirror.replay(store, mirror.local(store), everything=True) == []
    assert held(mirror.local(store)) == {"runs": [], "models": [], "versions": []}


def test_a_trial_that_goes_on_in_a_second_run_is_one_child(store: Path) -> None:
    first, second = Journal(store / "runs" / "1", "driver"), Journal(store / "runs" / "2", "driver")
    first.write("run", run="1", study="soup")
    node(first, "t0", "running")
    for step in (0, 10, 20):
        first.write("metric", fingerprint="t0", step=step, values={"loss": 1.0 / (step + 1)})
    mirror.replay(store, mirror.local(store), everything=True)  # the driver was killed: there is no end
    states = {run[0]: run[1] for run in held(mirror.local(store))["runs"]}
    assert states == {"soup": "KILLED", "trial 0": "KILLED"}
    second.write("run", run="2", study="soup")
    node(second, "t0", "running")
    for step in (10, 20, 30):  # resumed from step 10
        second.write("metric", fingerprint="t0", step=step, values={"loss": 1.0 / (step + 1)})
    node(second, "t0", "done", uri="store/t0", digest="a" * 64)
    second.write("end", status="finished")
    for name in "21":  # what is older, and sent later, does not undo it
        shutil.rmtree(store / "runs" / name / "mirror", ignore_errors=True)
        assert mirror.replay(store, mirror.local(store), everything=True) == []
    trials = [run for run in held(mirror.local(store))["runs"] if run[0] == "trial 0"]
    assert [(run[1], [[point[0] for point in points] for _, points in run[5]]) for run in trials] == [("FINISHED", [[0, 10, 20, 30]])]


def test_of_a_sweep_whose_driver_was_killed_what_was_begun_is_there(store: Path) -> None:
    """A trial that waits is no run in MLflow, and one that was over when MLflow heard of it is so at once."""
    driver, worker = Journal(store / "runs" / "1", "driver"), Journal(store / "runs" / "1", "worker")
    driver.write("run", run="1", study="soup")
    for i in range(5):
        node(driver, f"t{i}", "queued", params={"update.lr": 0.1})
    for i in range(3):
        worker.write("running", fingerprint=f"t{i}")
    worker.write("metric", fingerprint="t0", step=0, values={"loss": 1.0})
    node(driver, "t0", "done", uri="store/t0", digest="a" * 64)
    node(driver, "t1", "failed", reason="loss is nan")
    node(driver, "t1", "queued")
    worker.write("running", fingerprint="t1")
    mirror.replay(store, mirror.local(store), everything=True)
    runs = held(mirror.local(store))["runs"]
    assert {run[0]: run[1] for run in runs} == {"soup": "KILLED", "trial 0": "FINISHED", "trial 1": "KILLED", "trial 2": "KILLED"}
    assert all(run[3] == [("update.lr", "0.1")] for run in runs if run[0] != "soup")


def test_failures_are_told_truthfully_and_nan_is_never_sent(store: Path) -> None:
    journal = Journal(store / "runs" / "1", "driver")
    journal.write("run", run="1", study="soup")
    node(journal, "t0", "running")
    journal.write("metric", fingerprint="t0", step=1, values={"loss": 2.0})
    journal.write("metric", fingerprint="t0", step=2, values={"loss": float("nan")})
    journal.write("score", fingerprint="t0", split="test", metric="top1", value=float("inf"), n=3)
    node(journal, "t0", "failed", reason="Diverged: loss is nan at step 2, see http://u:hunter2@host/")
    node(journal, "t1", "running")
    journal.write("end", status="failed")
    assert mirror.replay(store, mirror.local(store), everything=True) == []
    runs = {run[0]: run for run in held(mirror.local(store))["runs"]}
    assert {name: run[1] for name, run in runs.items()} == {"soup": "FAILED", "trial 0": "FAILED", "trial 1": "KILLED"}
    points = [(key, [point[:2] for point in points]) for key, points in runs["trial 0"][5]]
    assert points == [("diverged", [(2, 1.0)]), ("loss", [(1, 2.0)])]
    assert "hunter2" not in (store / "mlflow.db").read_bytes().decode("latin-1")


def test_an_event_that_is_refused_does_not_hold_up_the_others(store: Path) -> None:
    journal = Journal(store / "runs" / "1", "driver")
    journal.write("run", run="1", study="soup", params={"odd\u00e9 key!": "x" * 9000, "../up": 1})
    node(journal, "t0", "running")
    journal.write("champion", fingerprint="t0", uri="store/t0", name="")  # MLflow takes no empty name
    journal.write("metric", fingerprint="t0", step=2**70, values={"loss": 1.0})  # its steps are int64: left out
    journal.write("metric", fingerprint="t0", step=5, values={"loss \u00e9//x": 1.0})
    node(journal, "t0", "done", uri="store/t0")
    journal.write("end", status="finished")
    lines = mirror.replay(store, mirror.local(store), everything=True)
    assert len(lines) == 1 and "refused 1 events" in lines[0] and "complete" in lines[0]
    runs = {run[0]: run for run in held(mirror.local(store))["runs"]}
    assert {name: run[1] for name, run in runs.items()} == {"soup": "FINISHED", "trial 0": "FINISHED"}
    assert [key for key, _ in runs["trial 0"][5]] == ["loss \u00e9_x"]


def test_a_run_that_is_deleted_meanwhile_is_made_again(undisturbed: tuple[Path, dict[str, Any]], copied: Path) -> None:
    from mlflow import MlflowClient

    store, tracking = copied.parents[1], mirror.local(copied.parents[1])
    whole = (copied / "journal" / "driver.jsonl").read_bytes()
    (copied / "journal" / "driver.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    mirror.replay(store, tracking, everything=True)
    client = MlflowClient(tracking_uri=tracking)
    for run in client.search_runs([e.experiment_id for e in client.search_experiments() if e.name == mirror.EXPERIMENT]):
        client.delete_run(run.info.run_id)
    (copied / "journal" / "driver.jsonl").write_bytes(whole)
    assert mirror.replay(store, tracking, everything=True) == []
    assert [run[:2] for run in held(tracking)["runs"]] == [run[:2] for run in undisturbed[1]["runs"]]


def test_a_deleted_experiment_is_its_owners_decision(copied: Path) -> None:
    from mlflow import MlflowClient

    store, tracking = copied.parents[1], mirror.local(copied.parents[1])
    client = MlflowClient(tracking_uri=tracking)
    experiment = client.create_experiment(mirror.EXPERIMENT, (store / "mlflow").as_uri())
    client.delete_experiment(experiment)
    (line,) = mirror.replay(store, tracking, everything=True)
    assert "mlflow experiments restore" in line and "\n" not in line
    client.restore_experiment(experiment)
    assert mirror.replay(store, tracking) == []


def test_a_locked_database_is_waited_for(undisturbed: tuple[Path, dict[str, Any]], copied: Path) -> None:
    store, tracking = copied.parents[1], mirror.local(copied.parents[1])
    lock = sqlite3.connect(store / "mlflow.db")
    lock.execute("BEGIN EXCLUSIVE")
    (line,) = mirror.replay(store, tracking, everything=True)
    assert "locked" in line and "the next run sends them" in line
    lock.rollback()
    lock.close()
    assert mirror.replay(store, tracking) == []
    assert held(tracking) == undisturbed[1]


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://me:hunter2@127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://me:hunter2@127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("fault", ["silent", "nobody"])
def test_the_driver_waits_a_bounded_time_and_says_one_line(copied: Path, fault: str, request: pytest.FixtureRequest) -> None:
    tracking = request.getfixturevalue(fault)
    child = mirror.Mirror(copied, tracking, patience=6)
    line = child.finish()
    assert line.startswith("MLflow at http://***@127.0.0.1") and "has not got" in line and "\n" not in line
    assert "hunter2" not in line + "".join(path.read_text() for path in (copied / "mirror").glob("*"))
    owed = Sent.of(copied, tracking)
    assert owed.known and owed.unsent == len([line for line in read(copied) if line.event])


def test_what_one_run_could_not_send_the_next_one_sends(undisturbed: tuple[Path, dict[str, Any]], copied: Path) -> None:
    store, tracking = copied.parents[1], mirror.local(copied.parents[1])
    Sent.of(copied, tracking).save()  # it was to go there
    later = store / "runs" / "run-2"
    journal = Journal(later, "driver")
    journal.write("run", run="run-2", study="soup")
    node(journal, "trial-9", "running")
    child = mirror.Mirror(later, tracking, patience=WAIT)
    node(journal, "trial-9", "done", uri="store/9", digest="9" * 64)
    journal.write("end", status="finished")
    assert child.finish() == ""
    assert mirror.owed(copied, tracking) == ""
    there = held(tracking)["runs"]
    assert [run for run in undisturbed[1]["runs"] if run not in there] == [] and len(there) == len(undisturbed[1]["runs"]) + 2


def test_a_driver_that_is_killed_leaves_a_true_picture(store: Path) -> None:
    """SIGKILL of the driver: its mirror finishes what is there and marks the run and its trial as killed."""
    folder = store / "runs" / "1"
    script = f"""
import os, signal
from infra.tracking.journal import Journal
from infra.tracking.mirror import Mirror, local
journal = Journal({str(folder)!r}, "driver")
journal.write("run", run="1", study="soup")
journal.write("node", fingerprint="t0", function="train", label="trial 0", state="running", is_checkpoint=True)
mirror = Mirror({str(folder)!r}, local({str(store)!r}), patience={WAIT})
print(mirror._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    driver = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert driver.returncode == -signal.SIGKILL
    tracking = mirror.local(store)
    _until(lambda: _over(int(driver.stdout)))
    assert {run[0]: run[1] for run in held(tracking)["runs"]} == {"soup": "KILLED", "trial 0": "KILLED"}
    assert Sent.of(folder, tracking).ended


def _until(there: Callable[[], bool]) -> None:
    """Wait for another process; how long it takes is not looked at."""
    for _ in range(WAIT * 10):
        if there():
            return
        time.sleep(0.1)
    pytest.fail("it did not come")


def _over(pid: int) -> bool:
    """Whether a process that is not our child has ended."""
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def test_the_drivers_side_imports_nothing_heavy() -> None:
    script = "import sys, infra.tracking.mirror; print([m for m in ('mlflow', 'requests', 'sqlalchemy', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout.strip() == "[]"


def test_another_machine_sends_what_a_lost_one_owes(undisturbed: tuple[Path, dict[str, Any]], store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote, tracking = Place(f"memory://{store.name}"), mirror.local(store)
    for path in (undisturbed[0] / "journal").iterdir():
        remote.write(f"runs/run-1/journal/{path.stem}.0.jsonl", path.read_bytes())
    owed.note(remote, undisturbed[0], tracking)
    mirror._earlier(store / "runs" / "first", tracking, mirror.EXPERIMENT, remote)
    assert held(tracking)["runs"] == []  # its journal has just grown: its own machine may be at it
    monkeypatch.setattr(owed, "ENDED", 0.0)
    mirror._earlier(store / "runs" / "second", tracking, mirror.EXPERIMENT, remote)
    assert held(tracking)["models"] == undisturbed[1]["models"]
    assert [run[:6] for run in held(tracking)["runs"]] == [run[:6] for run in undisturbed[1]["runs"]]  # the page was on the other's disk
    (server,) = remote.names("owed")
    assert remote.names(f"owed/{server}") == ["first", "second"]


# A real server, which takes long to start: one for all of these.


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty, folder / "mlflow.db")
    server = Server(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def clean(server: Server, empty: Path) -> Server:
    """The server without anything of an earlier test."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server.url)
    for experiment in client.search_experiments():
        if experiment.name == mirror.EXPERIMENT:
            client.rename_experiment(experiment.experiment_id, f"{experiment.name} {time.time()}")
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    return server


@pytest.mark.slow
def test_a_server_holds_what_a_file_holds(undisturbed: tuple[Path, dict[str, Any]], copied: Path, clean: Server) -> None:
    child = mirror.Mirror(copied, clean.url, patience=WAIT)
    assert child.finish() == ""
    assert held(clean.url) == undisturbed[1]
    shutil.rmtree(copied / "mirror")
    assert mirror.replay(copied.parents[1], clean.url, everything=True) == []
    assert held(clean.url) == undisturbed[1]


@pytest.mark.slow
def test_a_server_that_dies_meanwhile_is_waited_for(undisturbed: tuple[Path, dict[str, Any]], copied: Path, clean: Server) -> None:
    driver = copied / "journal" / "driver.jsonl"
    whole = driver.read_bytes().splitlines(keepends=True)
    driver.write_bytes(b"".join(whole[:7]))
    child = mirror.Mirror(copied, clean.url, patience=WAIT)
    _until(lambda: Sent.of(copied, clean.url).unsent == 0)
    clean.kill()
    driver.write_bytes(b"".join(whole[:12]))
    _until(lambda: Sent.of(copied, clean.url).problem != "")
    clean.start()
    driver.write_bytes(b"".join(whole))
    assert child.finish() == ""
    assert held(clean.url) == undisturbed[1]


@pytest.mark.slow
def test_a_server_that_is_down_from_start_to_end_gets_all_of_it_later(
    undisturbed: tuple[Path, dict[str, Any]], copied: Path, clean: Server
) -> None:
    clean.kill()
    assert "has not got" in mirror.Mirror(copied, clean.url, patience=6).finish()
    clean.start()
    assert mirror.replay(copied.parents[1], clean.url) == []
    assert held(clean.url) == undisturbed[1]


@pytest.mark.slow
def test_a_server_that_knows_nobody_is_owed(copied: Path, clean: Server) -> None:
    with proxy(clean.url, 0) as url:
        (line,) = mirror.replay(copied.parents[1], url, everything=True)
    assert "401" in line


@pytest.mark.slow
def test_what_is_too_large_for_a_proxy_goes_in_pieces(tmp_path: Path, clean: Server) -> None:
    study(tmp_path, trials=1, steps=100)
    with proxy(clean.url, 2000) as url:
        assert mirror.replay(tmp_path, url, everything=True) == []
    (trial,) = [run for run in held(clean.url)["runs"] if run[0] == "trial 0"]
    assert [point[0] for point in dict(trial[5])["loss"]] == list(range(100))


@contextlib.contextmanager
def proxy(target: str, limit: int) -> Iterator[str]:
    """What lets bodies of at most `limit` bytes through to `target`; with 0, nobody is known."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if limit == 0 or len(body) > limit:
                return self.answer(413 if limit else 401, b"no")
            request = urllib.request.Request(target + self.path, body or None, dict(self.headers), method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=WAIT) as answer:
                    self.answer(answer.status, answer.read())
            except urllib.error.HTTPError as error:
                self.answer(error.code, error.read())

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: the test says what it expects."""

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as gate:
        threading.Thread(target=gate.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{gate.server_port}"
        gate.shutdown()
