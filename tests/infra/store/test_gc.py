"""Garbage: what nothing names goes, what anything needs stays, whenever it is asked."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from infra.store import Store
from infra.store import gc as collection
from infra.store.gc import ATTEMPTS, HEARTBEATS, IN_USE, LEFTOVERS, MANIFESTS, OF_FINISHED, PROBES, RETIRED, SERVED, Waste, collect, plan
from infra.store.lease import Driver
from tests.infra.store.made import aged, everything, node

PIN, OTHER = "0" * 20, "1" * 20
NAMED = "train-1/attempts/a/model"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A finished node and an unfinished one, with all that runs leave, three days old."""
    store = Store(str(tmp_path / "store"))
    store.prepare()
    node(store, "train-1", {"model": b"weights"}, arguments={"data": {"is": "Folder@1", "url": {"content": PIN}}})
    for name in (
        "train-1/attempts/b/model", "train-1/state/5-x/weights", "train-1/state/5-x.json", "train-1/lease/0", "train-1/failure.json",
        "train-1/retired/0.json", "train-1/attempts/a/.model.0a1b.partial", "train-1/note", f"train-1/.{'f' * 32}",
        "train-2/attempts/c/model", "train-2/state/5-x/weights", "train-2/state/5-x.json", "train-2/lease/0", "train-2/failure.json",
        f"manifests/{PIN}.json", f"manifests/{OTHER}.json", "drivers/d.json", "probes/p", "pins/u/0", "runs/r/journal/w.jsonl",
        "reports/s/index.html", "champions/c/0.json", "mlflow/m/model", f"runs/r/.{'e' * 32}", "README",
    ):  # fmt: skip
        store.place.write(name, json.dumps({"driver": "d"}).encode())
    store.place.write("drivers/d.json", json.dumps({"host": "h", "pid": 1, "process": "", "beat": 1, "ended": False}).encode())
    aged(store)
    return store


def names(found: list[Waste]) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for one in found:
        kinds.setdefault(one.kind, set()).add(one.name)
    return kinds


def removed(store: Store) -> set[str]:
    before = set(everything(store))
    assert all(not why for _, why in collect(store, list(plan(store))))
    return before - set(everything(store))


def test_what_nothing_names_is_garbage_and_no_more(store: Store) -> None:
    found = names(list(plan(store)))
    assert found == {
        ATTEMPTS: {"train-1/attempts/b/model", "train-2/attempts/c/model"}, RETIRED: {"train-1/retired/0.json"},
        OF_FINISHED["state"]: {"train-1/state/5-x/weights", "train-1/state/5-x.json"}, OF_FINISHED["lease"]: {"train-1/lease/0"},
        OF_FINISHED["failure.json"]: {"train-1/failure.json"}, HEARTBEATS: {"drivers/d.json"}, PROBES: {"probes/p"},
        LEFTOVERS: {"train-1/attempts/a/.model.0a1b.partial", f"train-1/.{'f' * 32}", f"runs/r/.{'e' * 32}"},
        MANIFESTS: {f"manifests/{OTHER}.json"},
    }  # fmt: skip
    assert removed(store) == {name for some in found.values() for name in some}
    assert not list(plan(store)) and not Path(store.url, "probes").exists() and not Path(store.url, "train-1", "lease").exists()


def test_nothing_younger_than_a_day_goes_and_an_attempt_is_as_young_as_its_youngest_file(store: Store) -> None:
    store.place.write("train-1/attempts/b/late", b"still being written")
    store.place.write("train-1/state/9-x/weights", b"")
    found = {name for some in names(list(plan(store))).values() for name in some}
    assert not any(name.startswith(("train-1/attempts/b", "train-1/state/9")) for name in found) and "train-1/state/5-x.json" in found


def test_leases_go_together_the_newest_first(store: Store) -> None:
    """Who reads them from the first on would take a gap for the end."""
    for generation in range(1, 11):
        store.place.write(f"train-1/lease/{generation}", b"{}")
    assert not names(list(plan(store))).get(OF_FINISHED["lease"])
    aged(store)
    leases = [int(one.name.rpartition("/")[2]) for one in plan(store) if one.kind == OF_FINISHED["lease"]]
    assert leases == [*range(10, -1, -1)]


def test_folders_of_others_in_the_same_place_are_left_alone(store: Store) -> None:
    for name in (f"other/.{'a' * 32}", "other/.film.partial", "other/train-1/attempts/b/model", "team-a/train-1/attempts/b/x", "team-a/drivers/d"):
        store.place.write(name, b"{}")
    aged(store)
    assert not [name for name in removed(store) if name.startswith(("other", "team-a"))]


def test_the_payload_of_a_record_that_could_not_be_removed_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    node(store, "best-1", inputs={"train-1": "0"})
    aged(store)
    found = list(plan(store, unused=True))
    unlink = os.unlink

    def kept(path: str) -> None:
        if path.endswith("train-1/record.json"):
            raise PermissionError(1, "Operation not permitted")
        unlink(path)

    monkeypatch.setattr(os, "unlink", kept)
    told = {one.name: why for one, why in collect(store, found)}
    assert told["train-1/record.json"] == "Operation not permitted" and told[NAMED] == IN_USE and store.place.exists(NAMED)


def test_age_is_told_by_the_stores_clock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert list(plan(store))


def test_nothing_of_a_node_under_a_live_lease_goes(store: Store) -> None:
    store.place.remove("drivers/d.json")  # who held the leases
    driver = Driver(store.place)
    driver.start()
    try:
        for key in ("train-1", "train-2"):
            assert driver.acquire([key]) == {key: ""}
        aged(store, "drivers/")  # a run of three days
        found = names(list(plan(store)))
        assert not [name for some in found.values() for name in some if name.startswith("train-")] and MANIFESTS not in found
        late = [Waste(ATTEMPTS, "train-2/attempts/c/model", 1)]  # a lease that came after the plan
        assert [why for _, why in collect(store, late)] == [IN_USE]
    finally:
        driver.stop()
    assert "train-1/attempts/b/model" in removed(store)


def test_a_record_that_came_after_the_plan_keeps_its_payload(store: Store) -> None:
    found = list(plan(store))
    made = node(store, "train-2", {"model": b"other"}, attempt="c")
    stays = {one.name for one, why in collect(store, found) if why == IN_USE}
    assert stays == {"train-2/attempts/c/model"} and store.record("train-2") == made and store.place.read(stays.pop()) == b"other"


def test_what_an_alias_names_stays_although_its_record_is_gone(store: Store) -> None:
    store.place.remove("train-1/record.json")
    for spelled in (store.place.at("train-1/attempts/a"), "s3://bucket/store/train-1/attempts/a", "/another/mount/store/train-1/attempts/a/"):
        found = {one.name for one in plan(store, [spelled])}
        assert NAMED not in found and "train-1/attempts/b/model" in found
    assert NAMED in {one.name for one in plan(store)}


def test_a_record_that_cannot_be_read_or_leads_elsewhere_protects_what_lies_there(store: Store, tmp_path: Path) -> None:
    (tmp_path / "attempts" / "a").mkdir(parents=True)
    (tmp_path / "attempts" / "a" / "model").write_bytes(b"not of the store")
    record = Path(store.url, "train-1", "record.json")
    for content in (record.read_text()[:50], record.read_text().replace('"train-1"', '"../"'), record.read_text().replace('"a"', '"../../.."')):
        record.write_text(content)
        aged(store)
        assert not [one for one in plan(store) if one.key == "train-1"]
    os.symlink(tmp_path / "attempts", Path(store.url, "train-2", "attempts", "link"))
    list(collect(store, list(plan(store))))
    assert (tmp_path / "attempts" / "a" / "model").exists()


def test_what_cannot_be_removed_is_told_once_and_the_rest_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(store.url, "train-1", "attempts", "b", "model")
    folder.unlink()
    folder.mkdir()  # what no unlink removes
    found = [Waste(ATTEMPTS, "train-1/attempts/b/model", 1), Waste(ATTEMPTS, "train-2/attempts/c/model", 1)]
    told = {one.name: why for one, why in collect(store, found)}
    assert told["train-1/attempts/b/model"] and told["train-2/attempts/c/model"] == ""


def test_the_bound_of_a_batch_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = names(list(plan(store)))
    monkeypatch.setattr(collection, "BATCH", 1)
    assert names(list(plan(store))) == whole


def test_what_has_served_goes_when_asked_and_what_a_page_or_an_alias_names_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("best-1", "train-5", "train-6", "train-7"):
        node(store, key, {"model": b"weights"}, inputs={"train-1": "0", "train-5": "0", "train-6": "0", "score-1": "0"} if key == "best-1" else {})
    node(store, "score-1", inputs={"train-7": "0"})
    store.place.write("reports/s/index.html", b"<p>the winner is train-6")
    aged(store)
    found = names(list(plan(store, [store.place.at("train-5/attempts/a")], unused=True)))
    assert found.pop(SERVED) == {f"{key}/{name}" for key in ("train-1", "train-7") for name in ("record.json", "attempts/a/model")}
    assert found == names(list(plan(store)))
    with monkeypatch.context() as patch:  # a record in one batch, and its payload in another
        patch.setattr(collection, "BATCH", 1)
        assert set(dict(collect(store, list(plan(store, unused=True)))).values()) == {""}
    assert {key for key in store.keys() if store.has(key)} == {"best-1", "score-1", "train-6"}  # noqa: SIM118
    assert not [name for name in everything(store) if name.startswith("train-7")]
    node(store, "best-2", inputs={"train-6": "0"})
    store.place.remove("reports/s/index.html")
    aged(store)
    late, lost = list(plan(store, unused=True)), f"manifests/{OTHER}.json"
    assert {one.key for one in late if one.kind == SERVED} == {"train-6"}
    store.place.write(lost, b"")
    driver = Driver(store.place)
    driver.start()
    try:
        told = dict(collect(store, [*late, Waste(MANIFESTS, lost, 0)]))  # a run that began after the plan reads records, and what it pinned
        assert set(told.values()) == {IN_USE} and store.has("train-6") and store.place.exists(lost)
        with pytest.raises(ValueError, match="a run goes on"):
            list(plan(store, unused=True))
    finally:
        driver.stop()
