"""The store: a record alone means done, the first one stands, and everything in it is relative."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.predictions import Predictions
from components.types import File, Score, in_order
from infra.errors import IntegrityError, StoreError, exit_code_of
from infra.store import Record, Store
from infra.store.kept import Kept
from infra.store.record import FORMAT, decode, encode
from tests.infra.store.races import alone, prepare_as_nobody, publish, race, record

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != "is"), inner),
    max_leaves=20,
)


@given(value=JSON, inputs=st.dictionaries(st.text(), st.text()), members=st.none() | st.lists(st.integers()).map(tuple), seconds=st.floats(0, 1e9))
def test_a_record_comes_back_as_it_was(value: object, inputs: dict[str, str], members: tuple[int, ...] | None, seconds: float) -> None:
    written = record(result={"value": value}, inputs=inputs, members=members, seconds=seconds, data=(["trains", "root", 0.0, 0.5],))
    assert Record.from_bytes(written.to_bytes(), "x") == written


@given(JSON)
def test_a_json_result_comes_back_as_it_was(value: object) -> None:
    assert decode(json.loads(json.dumps(encode(value)))) == value


def test_a_dataclass_result_comes_back_as_itself() -> None:
    score = Score("top1", "test", 10, 0.5, 0.2, 0.8, 5)
    assert decode(json.loads(json.dumps(encode({"scores": [score]})))) == {"scores": [score]}


def test_what_cannot_be_recorded_is_refused() -> None:
    with pytest.raises(ValueError, match="a ndarray can be neither recorded nor saved"):
        encode(np.zeros(3), "soup")


def test_a_record_imports_nothing_but_components() -> None:
    with pytest.raises(IntegrityError, match="os:system"):
        decode({"is": "os:system", "command": "true"})


def test_the_first_record_wins_a_race_of_processes(tmp_path: Path) -> None:
    winners = race(publish, str(tmp_path), 8)
    assert len(winners) == 1
    assert Store(str(tmp_path)).load("add-1") == winners[0]
    assert not Store(str(tmp_path)).publish(record(result={"value": -1}))
    assert Store(str(tmp_path)).load("add-1") == winners[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a record"),
        (b"\x00\xff", "not a record"),
        (b"[]", "not a record"),
        (b"{}", "not a record"),
        (json.dumps({"format": FORMAT}).encode(), "not a record"),
        (record().to_bytes()[:-40], "not a record"),
        (json.dumps({"format": FORMAT + 1, "anything": 1}).encode(), f"has format {FORMAT + 1}, this stockpot reads {FORMAT}"),
    ],
)
def test_a_record_that_is_none_is_an_integrity_error(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "add-1").mkdir()
    (tmp_path / "add-1" / "record.json").write_bytes(content)
    with pytest.raises(IntegrityError) as caught:
        Store(str(tmp_path)).record("add-1")
    assert reason in str(caught.value) and str(tmp_path / "add-1") in str(caught.value)
    assert exit_code_of(caught.value) == 5


@pytest.mark.parametrize("content", ['{"stockpot": {"format": 99}}', "{}", "[]", "not json", ""])
def test_a_store_of_another_version_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(IntegrityError) as caught:
        Store(str(tmp_path)).prepare()
    assert exit_code_of(caught.value) == 5 and "\n" not in str(caught.value)


def test_a_store_that_cannot_be_made_is_said_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        Store(str(tmp_path / "file" / "store")).prepare()
    assert exit_code_of(caught.value) == 4 and "choose another --store" in str(caught.value)


def test_a_store_that_is_read_only_is_said_before_anything_runs() -> None:
    with tempfile.TemporaryDirectory() as folder:  # below /tmp, where every user may look
        Store(folder).prepare()
        os.chmod(folder, 0o555)
        assert alone(prepare_as_nobody, folder) == 4


def predictions() -> Predictions:
    return Predictions(ids=np.array(["a", "b"]), labels=np.array([0, 1]), logits=np.eye(2, dtype=np.float32), groups=None, classes=("cat", "dog"))


def finish(store: Store, key: str) -> None:
    """As a worker does: the payload first, the record last."""
    attempt, url = store.attempt(key)
    files = [{"name": f.name, "size": f.size, "digest": f.digest} for f in predictions().save(url, in_order)]
    assert all(isinstance(f, File) for f in predictions().save(url, in_order))
    store.publish(record(key=key, result={"type": "components.predictions:Predictions", "attempt": attempt, "files": files}))


def test_a_copied_store_keeps_every_hit(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "first"))
    store.prepare()
    finish(store, "predict-1")
    store.publish(record(key="add-1"))
    shutil.copytree(tmp_path / "first", tmp_path / "elsewhere" / "second")
    shutil.rmtree(tmp_path / "first")
    moved = Store(str(tmp_path / "elsewhere" / "second"))
    moved.prepare()
    assert moved.keys() == ["add-1", "predict-1"] and moved.keys("add") == ["add-1"]
    assert moved.has("predict-1") and moved.load("add-1") == 1.0
    assert np.array_equal(moved.load("predict-1").logits, predictions().logits)
    assert str(tmp_path / "first").encode() not in b"".join(path.read_bytes() for path in (tmp_path / "elsewhere").rglob("*.json"))


def test_attempts_lie_beside_each_other_and_only_the_recorded_one_counts(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    _, lost = store.attempt("predict-1")
    predictions().save(lost, in_order)
    assert not store.has("predict-1")
    with pytest.raises(StoreError, match="not finished"):
        store.load("predict-1")
    finish(store, "predict-1")
    shutil.rmtree(lost)
    assert store.load("predict-1").classes == ("cat", "dog")


def test_equal_results_have_equal_digests_in_any_store(tmp_path: Path) -> None:
    stores = [Store(str(tmp_path / name)) for name in "ab"]
    for store in stores:
        finish(store, "predict-1")
    assert len({store.finished("predict-1").digest for store in stores}) == 1


@given(st.lists(st.tuples(st.sampled_from(["train-1", "train-2", "soup-of-two-1"]), st.binary(max_size=200)), max_size=12))
def test_what_is_kept_of_records_is_their_bytes(records: list[tuple[str, bytes]]) -> None:
    kept, expected = Kept(), {}
    for key, data in records:
        kept.put(key, data)
        expected[key] = data
    assert all(kept.get(key) == data and key in kept for key, data in expected.items())
    assert all(kept.pop(key) == data and key not in kept and kept.pop(key) is None for key, data in expected.items())
