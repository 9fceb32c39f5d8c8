"""Copying stores: payload first, verified, then the record; nothing is overwritten, and what was interrupted goes on."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.weights.chunks import chunk, hashed
from components.weights.destination import destination
from components.weights.files import CHUNK
from infra.errors import StoreError
from infra.store import Store
from infra.store.copy import Copier, compare
from infra.store.inventory import keys
from tests.infra.store.made import everything, node

PIN = "0" * 20


@pytest.fixture
def source(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "source"))
    store.prepare()
    content = os.urandom(2 * CHUNK + 77)
    node(store, "train-1", {"model": content, "empty": b"", "config": b"{}"}, arguments={"data": {"is": "Folder@1", "url": {"content": PIN}}})
    node(store, "train-2", {"model": content[:1000]})
    node(store, "score-1")
    for name in (f"manifests/{PIN}.json", f"manifests/{'1' * 20}.json", "pins/u/0", "reports/s/index.html"):
        store.place.write(name, b"[]")
    for name in ("train-1/lease/0", "train-1/attempts/other/model", "drivers/d.json", "train-3/state/1-x.json", "runs/r/journal/w.jsonl"):
        store.place.write(name, b"{}")
    return store


@pytest.fixture(params=["disk", "memory"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "target") if request.param == "disk" else f"memory://{tmp_path.name}/target")
    store.prepare()
    return store


def copied(source: Store, target: Store, read: Callable[..., bytes] = chunk, **more: Any) -> dict[str, str]:
    """{key: what was said} of a whole copy."""
    nodes = list(compare(source, target, keys(source)))
    copier = Copier(source, target, read, hashed, more.get("destination", destination))
    copier.beside(nodes, everything=True)
    told = {node.key: why for node, why in copier.copy([node for node in nodes if not node.told])}
    return {node.key: node.told or told[node.key] for node in nodes}


def test_what_is_finished_is_there_and_nothing_of_host_or_clock(source: Store, target: Store) -> None:
    assert copied(source, target) == {"score-1": "", "train-1": "", "train-2": ""}
    there, here = everything(target), everything(source)
    assert set(there) == {
        "store.json", "score-1/record.json", "train-1/record.json", "train-2/record.json", "train-1/attempts/a/model", "train-1/attempts/a/empty",
        "train-1/attempts/a/config", "train-2/attempts/a/model", f"manifests/{PIN}.json", "pins/u/0", "reports/s/index.html",
    }  # fmt: skip
    assert all(there[name] == here[name] for name in there)
    assert copied(source, target) == {"score-1": "there", "train-1": "there", "train-2": "there"}


def test_another_result_of_the_same_node_is_named_and_stays(source: Store, target: Store) -> None:
    other = node(target, "train-2", {"model": b"other bytes"}, attempt="z")
    node(target, "score-1", host="elsewhere", started=5.0)  # the same result, computed by somebody else
    told = copied(source, target)
    assert "train-2: has another result, which stays" in told["train-2"] and told["score-1"] == "there" and told["train-1"] == ""
    assert target.record("train-2") == other and not target.place.exists("train-2/attempts/a/model")


def test_damage_at_the_source_is_named_and_does_not_cross(source: Store, target: Store) -> None:
    path = Path(source.url, "train-1", "attempts", "a", "model")
    content = bytearray(path.read_bytes())
    content[CHUNK + 5] ^= 1
    path.write_bytes(content)
    Path(source.url, "train-2", "attempts", "a", "model").unlink()
    told = copied(source, target)
    assert "its bytes changed" in told["train-1"] and "missing" in told["train-2"] and told["score-1"] == ""
    assert not any("record.json" in name for name in everything(target) if name.startswith("train"))
    assert "train-1/attempts/a/model" not in everything(target)


def test_what_arrived_otherwise_than_it_was_written_is_no_node(source: Store, tmp_path: Path) -> None:
    target = Store(str(tmp_path / "target"))

    def lossy(url: str, unless: str) -> Any:
        made = destination(url, unless)
        commit = made.commit

        def spoil(receipts: list[Any] | None = None) -> None:
            commit(receipts)
            if url.endswith("train-2/attempts/a/model"):
                Path(url).write_bytes(b"y" * 1000)

        made.commit = spoil  # type: ignore[method-assign]
        return made

    told = copied(source, target, destination=lossy)
    assert "after it was written" in told["train-2"] and told["train-1"] == ""
    assert not target.place.exists("train-2/record.json")
    assert copied(source, target)["train-2"] == ""


def test_an_interrupted_copy_shows_nothing_half_and_goes_on(source: Store, target: Store) -> None:
    def dies(url: str, start: int, total: int) -> bytes:
        if start == CHUNK:
            raise KeyboardInterrupt
        return chunk(url, start, total)

    with pytest.raises(KeyboardInterrupt):
        copied(source, target, dies)
    assert "train-1/attempts/a/model" not in everything(target) and not [name for name in everything(target) if "partial" in name]
    assert set(copied(source, target).values()) <= {"", "there"}
    assert everything(target)["train-1/attempts/a/model"] == everything(source)["train-1/attempts/a/model"]


def test_a_full_disk_is_one_line_and_the_same_copy_goes_on(source: Store, tmp_path: Path) -> None:
    target = Store(str(tmp_path / "target"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (CHUNK, hard))
    try:
        with pytest.raises(StoreError, match=r"train-1/attempts/a/model: cannot be written: .*; make room, and the same command goes on") as caught:
            copied(source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.exit_code == 4 and not [name for name in everything(target) if name.endswith("record.json") or "partial" in name]
    assert set(copied(source, target).values()) == {""}


def test_a_record_that_leaves_its_folder_is_not_followed(source: Store, tmp_path: Path) -> None:
    target = Store(str(tmp_path / "target"))
    (tmp_path / "secret").write_bytes(b"x")
    path = Path(source.url, "train-2", "record.json")
    path.write_text(path.read_text().replace('"name": "model"', '"name": "../../../../secret"'))
    told = copied(source, target)
    assert "names '..'" in told["train-2"] and not [name for name in everything(target) if name.startswith("train-2")]


def test_a_size_that_a_damaged_record_tells_stops_only_its_own_node(source: Store, target: Store) -> None:
    record = Path(source.url, "train-2", "record.json")
    record.write_text(record.read_text().replace('"size": 1000', f'"size": {1 << 62}'))
    told = copied(source, target)
    assert "1000 bytes" in told.pop("train-2") and told == {"score-1": "", "train-1": ""}
    assert not [name for name in everything(target) if name.startswith("train-2")]


def test_a_file_that_a_disk_does_not_give_stops_only_its_own_node(source: Store, target: Store) -> None:
    def read(url: str, start: int, size: int) -> bytes:
        if "train-2" in url:
            raise OSError(5, "Input/output error")
        return chunk(url, start, size)

    told = copied(source, target, read)
    assert told.pop("train-2").endswith("cannot be read: Input/output error; restore it") and told == {"score-1": "", "train-1": ""}
