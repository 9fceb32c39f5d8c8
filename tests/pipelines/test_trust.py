"""What a study takes on trust: records of others, links, two addresses of one folder, what a crash cut short."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from components.weights.digests import digests_of
from infra.backends.local import Local
from infra.dag import Fingerprints, Plan, call
from infra.errors import IntegrityError
from infra.job import Site
from infra.runner import Runner
from infra.store import Record, Store
from infra.store.lease import Driver
from infra.store.pins import Pins
from infra.store.place import Place
from infra.store.record import decode, locate
from pipelines.soup import Soup
from pipelines.tasks import Own
from tests.infra.toys import add, number, paired


@pytest.mark.parametrize("name", ["components.weights.files:os.system", "components.weights.files:join", "components.types:No", "components.no:A"])
def test_a_record_calls_nothing_but_classes_of_components(name: str) -> None:
    with pytest.raises(IntegrityError, match="a record names components"):
        decode({"is": name, "command": "true"})
    with pytest.raises(IntegrityError, match="a record names components"):
        locate(name)


def test_a_linked_file_is_pinned_by_its_target(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("one")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").symlink_to(tmp_path / "kept")
    pins = Pins(Place(str(tmp_path / "store")), digests_of)
    first = pins.pin(str(tmp_path / "photos")).pin
    (tmp_path / "kept").write_text("TWO")
    os.utime(tmp_path / "kept", (1, 1))
    assert pins.pin(str(tmp_path / "photos")).pin != first
    (tmp_path / "kept").unlink()
    with pytest.raises(ValueError, match=r"1\.png is a link to nothing"):
        pins.pin(str(tmp_path / "photos"))


def test_what_a_crash_cut_short_is_made_anew(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "store"))
    place.create("add-1/lease/0", b'{"driver": "gone"}')
    place.write("drivers/gone.json", b"")
    assert Driver(place).acquire(["add-1"]) == {"add-1": ""}
    (tmp_path / "1.png").write_text("one")
    pins = Pins(place, digests_of)
    first = pins.pin(str(tmp_path / "1.png")).pin
    for path in (tmp_path / "store" / "pins").glob("*/*"):
        path.write_bytes(path.read_bytes()[:-1])
    assert pins.pin(str(tmp_path / "1.png")).pin == first


def test_two_addresses_of_the_same_bytes_are_one_source(tmp_path: Path) -> None:
    for name in ("photos", "copy"):
        for label in ("cat", "dog"):
            (tmp_path / name / label).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / name / label / "1.png")
    plan = Soup(task=Own(url=str(tmp_path / "photos"), test_url=str(tmp_path / "copy")), trials=2).plan()  # by address they differ
    store = Store(str(tmp_path / "store"))
    told: list[str] = []

    def watch(event: str, node: Any, **facts: Any) -> None:
        told.append(event)

    site = Site(store.url, store.place.at("runs/1"), str(tmp_path / "cache"))
    with pytest.raises(IntegrityError, match="would report on examples that were"):
        Runner(store, Local(), site, Pins(store.place, digests_of).of(plan), watch).run(plan)
    assert not told


def test_indices_are_not_used_on_other_members_than_they_were_chosen_from(tmp_path: Path) -> None:
    numbers = [call(number, value=value) for value in (1.0, 2.0, 3.0)]
    chosen = call(add, terms=numbers, at_least=2)
    used = call(paired, left=numbers, right=numbers, names=chosen, at_least=2)
    store, key = Store(str(tmp_path / "store")), Fingerprints().key(chosen)
    store.prepare()
    store.publish(Record(key, "tests.infra.toys:add", key, 1, {}, {}, {"value": 1}, members=(1, 2)))  # a member failed then
    site = Site(store.url, store.place.at("runs/1"), str(tmp_path / "cache"))
    finished = Runner(store, Local(str(tmp_path / "log")), site, {}, lambda *event, **facts: None).run(Plan({"used": used}))
    (failure,) = finished.failures.values()
    assert finished.exit_code == 5 and "chose from the members [1, 2], here all are there" in failure.error
