"""`import --store`: a model from elsewhere becomes a result of a store, which queries find, with what it is known to have seen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from components.data import Digits, Split
from components.models.folder import address
from components.models.stored import Stored, nth
from components.weights import Checkpoint
from components.weights.digests import digests_of
from infra.dag import Plan, call
from infra.store import Record, Store
from infra.store.pins import Pins
from pipelines.__main__ import main

SHIPPED = address("stockpot-tiny")


def stockpot(*words: object) -> int:
    return main([str(word) for word in words])


def taken(store: Path, *words: object) -> int:
    return stockpot("import", *words, "--store", store, "--tracking", "none")


def records(store: Path) -> list[Record]:
    there = Store(str(store))
    return [there.finished(key) for key in there.keys("adopt")]


def found(store: Path, **changes: Any) -> list[str]:
    """The keys of what a query finds."""
    pins = Pins(Store(str(store)).place, digests_of).of(Plan({"first": call(nth, found=Stored(**changes))}))
    return [member.key for (members) in pins.found.values() for member in members]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that were tuned elsewhere from the shipped model, as a safetensors file."""
    folder = tmp_path_factory.mktemp("tuned")
    (Checkpoint(SHIPPED) * 0.9).save(str(folder / "model"))
    shutil.copy(folder / "model" / "open_clip_model.safetensors", folder / "tuned.safetensors")
    return folder / "tuned.safetensors"


def test_foreign_weights_in_a_store_are_found_by_a_query(tuned: Path, tmp_path: Path, capsys: Any) -> None:
    store = tmp_path / "store"
    assert taken(store, tuned, "--ancestor", "stockpot-tiny") == 0
    (record,) = records(store)
    assert f"took in {record.key}" in capsys.readouterr().out and found(store) == [record.key]
    payload = Checkpoint(Store(str(store)).payload(record))
    assert payload.parts["model"].digest == Checkpoint(str(tuned.parent / "model")).parts["model"].digest
    assert taken(store, tuned, "--ancestor", "stockpot-tiny") == 0
    assert f"has {record.key}" in capsys.readouterr().out and len(records(store)) == 1
    assert taken(store, tuned, "--model", "stockpot-tiny") == 0  # its own ancestor: no relative
    assert len(records(store)) == 2 and found(store) == [record.key]


def test_what_an_import_has_seen_is_declared_or_known_by_its_record(soup: Path, tuned: Path, tmp_path: Path) -> None:
    store, data = tmp_path / "store", Split(Digits(), 0.9, 1.0)
    assert taken(store, tuned, "--ancestor", "stockpot-tiny", "--data", "Split", "--data.data", "Digits", "--data.low", 0.5, "--data.high", 0.6) == 0
    (record,) = records(store)
    assert [list(use) for use in record.data] == [["trains", '{"is": "Digits@1"}', 0.5, 0.6]]
    with pytest.raises(ValueError, match="1 that have seen the data to avoid"):
        found(store, avoid=(data,))
    trials = {path: (path.parents[1] / "record.json").read_text() for path in sorted(soup.glob("train-*/attempts/*"))}
    trial = next(path for path, record in trials.items() if "Digits@1" in record)
    assert taken(tmp_path / "other", trial) == 0
    (record,) = records(tmp_path / "other")
    told = json.loads(trials[trial])["data"]
    assert [list(use) for use in record.data] == [use for use in told if use[0] == "trains"] != []
    assert found(tmp_path / "other") == [record.key]
    with pytest.raises(ValueError, match="have seen the data to avoid"):
        found(tmp_path / "other", avoid=(data,))  # other examples of the same source


def test_a_registered_model_by_version_and_by_alias(tuned: Path, tmp_path: Path, capsys: Any) -> None:
    from mlflow import MlflowClient

    from infra.tracking.entities import configure

    configure()
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model("flowers")
    client.create_model_version("flowers", str(tuned.parent / "model"))
    (tmp_path / "logged").mkdir()
    shutil.copy(tuned, tmp_path / "logged" / "weights.safetensors")
    client.create_model_version("flowers", f"file://{tmp_path}/logged")
    client.set_registered_model_alias("flowers", "best", "2")
    store = tmp_path / "store"
    for name, more in (("models:/flowers/1", ()), ("models:/flowers@best", ("--ancestor", "stockpot-tiny"))):
        assert stockpot("import", name, *more, "--store", store, "--tracking", uri) == 0, capsys.readouterr().err
    first, second = records(store)
    assert first.summary["ancestry"] == second.summary["ancestry"] and len(found(store)) == 1  # the same tensors twice
    capsys.readouterr()
    for name, told in (
        ("models:/flowers/7", "has no models:/flowers/7"),
        ("models:/flowers@worst", "has no models:/flowers@worst"),
        ("models:/flowers", "'models:/flowers' names no registered model; write models:/NAME/VERSION or models:/NAME@ALIAS"),
    ):
        assert stockpot("import", name, "--store", store, "--tracking", uri) == 2
        told_line = capsys.readouterr().err
        assert told in told_line and told_line.count("\n") == 1
    assert stockpot("import", "models:/flowers/1", "--store", tmp_path / "new", "--tracking", f"sqlite:///{tmp_path}/none.db") == 2
    assert "there is no such database" in capsys.readouterr().err and not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((SHIPPED,), "--out URL or --store URL"),
        ((SHIPPED, "--out", "x", "--data", "Digits"), "--data is kept by a store's record"),
        ((SHIPPED, "--store", "x", "--model", "ViT-B-32"), "is a checkpoint of stockpot already, which says what it is"),
        (("models:/a/1", "--store", "x", "--tracking", "none"), "which MLflow? give --tracking"),
    ],
)
def test_what_cannot_be_taken_in_is_refused_in_one_line(words: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert stockpot("import", *words) == 2
    line = capsys.readouterr().err
    assert told in line and line.count("\n") == 1 and not list(tmp_path.iterdir())


def test_another_ancestor_than_the_checkpoint_s_own_is_refused(tuned: Path, tmp_path: Path, capsys: Any) -> None:
    assert stockpot("import", tuned, "--model", "stockpot-tiny", "--out", tmp_path / "own") == 0
    assert taken(tmp_path / "store", tmp_path / "own", "--ancestor", "stockpot-tiny") == 2
    assert "says that it descends from another model than stockpot-tiny; leave out --ancestor" in capsys.readouterr().err
