"""`ls`, `verify`, `gc` and `copy` as a person sees them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.store import Store
from infra.store.lease import Driver
from tests.infra.store.made import aged, node
from tests.pipelines.commands.conftest import Stockpot, line


@pytest.fixture
def left(copy: Path) -> Store:
    """A store with a payload that no record names, all of it three days old."""
    store = Store(str(copy))
    store.place.write("train-0123/attempts/b/model", b"x" * 5000)
    aged(store)
    return store


def test_ls_shows_a_line_for_each_node_in_the_order_of_time(stockpot: Stockpot, copy: Path) -> None:
    store = Store(str(copy))
    store.place.write("train-1/state/3-a.json", b"{}")
    store.place.write("train-1/state/12-b.json", b"{}")
    store.place.write("train-2/failure.json", json.dumps({"kind": "Diverged", "error": "nan"}).encode())
    store.place.write("train-3/record.json", b"{")
    done = stockpot("ls", copy, "--function", "train")
    assert done.returncode == 0, done.stderr
    head, *rows, _, last = done.stdout.splitlines()
    column = slice(head.index("state"), head.index("state") + len("half-trained at step 12"))
    assert [row[column].strip() for row in rows] == ["done", "done", "half-trained at step 12", "failed: Diverged", "damaged"]
    assert all("AdamW lr=" in row and " s " in row and "2.0 MB" in row for row in rows[:2])
    assert "2 of 5 nodes done, 1 half-trained, 1 failed, 1 damaged" in last
    listed = json.loads(stockpot("ls", "--store", copy, "--json").stdout)["nodes"]
    shown = json.loads(stockpot("show", "--store", copy, "--json").stdout)["nodes"]
    starts = [one["started"] for one in listed if one["started"]]
    assert listed == shown and starts == sorted(starts)


def test_ls_names_who_computes_a_node(stockpot: Stockpot, copy: Path) -> None:
    driver = Driver(Store(str(copy)).place)
    driver.start()
    try:
        assert driver.acquire(["train-9"]) == {"train-9": ""}
        assert f"running by {os.uname().nodename}, process {os.getpid()}" in stockpot("ls", copy).stdout
    finally:
        driver.stop()
    assert "running by" not in stockpot("ls", copy).stdout


def test_gc_plans_first_and_removes_when_told(stockpot: Stockpot, left: Store) -> None:
    plan = stockpot("gc", "--store", left.url)
    assert plan.returncode == 0 and "attempts that no record names" in plan.stdout and "5.0 kB" in plan.stdout, plan.stderr
    assert f"stockpot gc --store {left.url} --yes" in plan.stdout.splitlines()[-1] and left.place.exists("train-0123/attempts/b/model")
    done = stockpot("gc", "--store", left.url, "--yes")
    assert done.returncode == 0 and "removed" in done.stdout, done.stderr
    assert not left.place.exists("train-0123/attempts/b/model")
    assert "nothing to remove" in stockpot("gc", "--store", left.url).stdout
    unused = stockpot("gc", "--store", left.url, "--unused")
    assert unused.returncode == 0 and "a later run that needs them computes again: " in unused.stdout and "2 train" in unused.stdout, unused.stderr
    assert stockpot("gc", "--store", left.url, "--unused", "--yes").returncode == 0
    assert stockpot("verify", "--store", left.url).returncode == 0
    assert stockpot("run", "soup", "smoke", "--store", left.url, "--ray", "none").returncode == 0


def test_gc_keeps_what_an_alias_names_and_stops_where_nobody_knows(stockpot: Stockpot, left: Store) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{left.url}/mlflow.db"
    client = MlflowClient(uri, uri)
    client.create_registered_model("digits")
    version = client.create_model_version("digits", left.place.at("train-0123/attempts/b"))
    client.set_registered_model_alias("digits", "champion", version.version)
    assert "attempts that no record names" not in stockpot("gc", "--store", left.url).stdout
    client.delete_registered_model_alias("digits", "champion")
    assert "attempts that no record names" in stockpot("gc", "--store", left.url).stdout
    Path(left.url, "mlflow.db").write_bytes(b"no database" * 1000)
    done = stockpot("gc", "--store", left.url, "--yes")
    assert done.returncode == 4 and "cannot be asked which models its aliases name" in line(done)
    assert left.place.exists("train-0123/attempts/b/model")


def test_verify_goes_on_where_it_was(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from components.weights.chunks import hashed
    from pipelines.commands import verify

    read: list[str] = []

    def counted(url: str, start: int, total: int) -> bytes:
        read.append(url)
        if len(read) == 40:  # of some seventy
            raise KeyboardInterrupt
        return hashed(url, start, total)

    monkeypatch.setenv("STOCKPOT_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(verify, "hashed", counted)
    with pytest.raises(KeyboardInterrupt):
        verify.main(["--store", str(copy)])
    capsys.readouterr()
    monkeypatch.setattr(verify, "hashed", hashed)
    assert verify.main(["--store", str(copy)]) == 0
    told = capsys.readouterr().out
    assert "were found sound before" in told and "all as recorded" in told
    assert verify.main([str(copy)]) == 0 and "before" not in capsys.readouterr().out


def test_a_copy_answers_as_the_store_does(stockpot: Stockpot, soup: Path, tmp_path: Path) -> None:
    done = stockpot("copy", soup, tmp_path / "there")
    assert done.returncode == 0 and "copied and read back" in done.stdout, done.stderr
    again = stockpot("copy", soup, tmp_path / "there")
    assert again.returncode == 0 and "0 nodes copied" in again.stdout and "were there" in again.stdout
    before = sorted(os.listdir(tmp_path / "there"))
    run = stockpot("run", "soup", "smoke", "--store", tmp_path / "there", "--ray", "none")
    assert run.returncode == 0 and sorted(os.listdir(tmp_path / "there")) == before, run.stderr  # no driver, no run: nothing was computed
    one = stockpot("copy", soup, tmp_path / "one", "greedy-")
    assert one.returncode == 0 and "1 node copied" in one.stdout
    other = Store(str(tmp_path / "one"))
    key = other.keys()[0]
    shutil.rmtree(tmp_path / "one" / key)
    node(other, key)
    refused = stockpot("copy", soup, tmp_path / "one", "greedy-")
    assert refused.returncode == 5 and "has another result, which stays" in refused.stderr and "1 not copied" in refused.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [(["copy", "a"], "two stores are needed"), (["copy", "a", "./a"], "is the store itself"), (["copy", "a", "b"], "no store is here")],
)
def test_what_cannot_be_copied_is_said_in_a_line(words: list[str], told: str, stockpot: Stockpot, tmp_path: Path) -> None:
    done: subprocess.CompletedProcess[str] = stockpot(*words, cwd=tmp_path)
    assert done.returncode == 2 and told in line(done) and not os.listdir(tmp_path)


