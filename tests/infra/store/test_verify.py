"""Verifying: every kind of damage is found and named, nothing outside of the store is looked at, and an interruption costs little."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from components.weights.chunks import hashed
from components.weights.files import CHUNK
from infra.store import Store
from infra.store.inventory import listed
from infra.store.verify import Checked, Expected, Seen, expected, recorded, verify
from tests.infra.store.made import node


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def found(store: Store) -> dict[str, str]:
    """{file: damage} of a whole verification."""
    wanted = list(expected(store))
    files = [file for file in wanted if isinstance(file, Expected)]
    return {file.name: damage for file, damage in (*(one for one in wanted if isinstance(one, Checked)), *verify(store.place, files, hashed))}


def test_files_of_any_number_of_chunks_are_as_recorded(store: Store) -> None:
    content = os.urandom(1 << 20)
    sizes = {"empty": 0, "small": 5, "chunk": CHUNK, "more": CHUNK + 1, "two": 2 * CHUNK + 77}
    node(store, "train-1", {name: (content * (size // len(content) + 1))[:size] for name, size in sizes.items()})
    node(store, "score-1")
    assert found(store) == {f"train-1/attempts/a/{name}": "" for name in sizes}


def test_every_kind_of_damage_is_named(store: Store) -> None:
    content = os.urandom(CHUNK + 1000)
    node(store, "train-1", dict.fromkeys(("first", "last", "short", "long", "gone", "sound", "hollow"), content) | {"filled": b""})
    folder = Path(store.url, "train-1", "attempts", "a")
    for name, at in (("first", 0), ("last", CHUNK + 999)):
        (folder / name).write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    (folder / "short").write_bytes(content[:-1])
    (folder / "long").write_bytes(content + b"x")
    (folder / "gone").unlink()
    (folder / "hollow").write_bytes(b"")
    (folder / "filled").write_bytes(b"x")
    told = {name.rpartition("/")[2]: damage for name, damage in found(store).items()}
    assert told.pop("sound") == ""
    assert told.pop("first").startswith("its bytes changed") and told.pop("last").startswith("its bytes changed")
    assert told.pop("gone") == "missing"
    assert all("bytes, " in damage and "were recorded" in damage for damage in told.values()), told


NAMES = ["../../../secret", "/etc/passwd", "%2e%2e/secret", "a/../../secret", "a//b", "", "a#b", "a?b", "a\0b", "é", "n" * 300]


@pytest.mark.parametrize("name", NAMES)
def test_a_record_that_names_what_is_not_its_own_is_damage_and_nothing_is_read(name: str, store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    for key, change in (("train-1", {"name": name}), ("train-2", {"size": -1}), ("train-3", {})):
        node(store, key, {"model": b"x"})
        path = Path(store.url, key, "record.json")
        facts = json.loads(path.read_text())
        facts["result"]["files"][0] |= change
        facts["result"]["attempt"] = name if key == "train-3" else "a"
        path.write_text(json.dumps(facts))
    assert all(isinstance(one, Checked) and one.file.name.endswith("/record.json") for one in expected(store)) and len(found(store)) == 3


def altered(store: Store, key: str, **changes: object) -> None:
    """Change what a record says of its file, or of itself."""
    path = Path(store.url, key, "record.json")
    facts = json.loads(path.read_text())
    for name, value in changes.items():
        (facts["result"]["files"][0] if name in ("size", "digest") else facts)[name] = value
    path.write_text(json.dumps(facts))


@pytest.mark.parametrize("size", [CHUNK + 8, 1 << 62])
def test_a_size_that_a_damaged_record_tells_does_not_keep_anybody_busy(size: int, store: Store) -> None:
    node(store, "train-1", {"model": b"x" * 9})
    node(store, "train-2", {"model": b"x" * 9})
    altered(store, "train-1", size=size)
    told = found(store)
    assert f"9 bytes, {size} were recorded" in told["train-1/attempts/a/model"] and told["train-2/attempts/a/model"] == ""
    read: list[int] = []
    list(verify(store.place, [one for one in expected(store) if isinstance(one, Expected)], hashed, read.append))
    assert sum(read) == size + 9


@pytest.mark.parametrize("change", [{"digest": ["x"]}, {"digest": None}, {"arguments": []}, {"inputs": "x"}, {"started": "now"}, {"seconds": None}])
def test_a_field_of_another_type_is_damage(change: dict[str, object], store: Store) -> None:
    node(store, "train-1", {"model": b"x"})
    altered(store, "train-1", **change)
    assert "not a record" in found(store)["train-1/record.json"] and [one.state for one in listed(store, ["train-1"])] == ["damaged"]


def test_what_was_withdrawn_meanwhile_is_no_damage(store: Store) -> None:
    node(store, "train-1", {"model": b"x"})
    (file,) = (one for one in expected(store) if isinstance(one, Expected))
    assert recorded(store, file) and not recorded(store, file._replace(digest="0"))
    store.retire("train-1", "a")
    assert not recorded(store, file)


def test_a_record_of_another_node_is_damage(store: Store) -> None:
    node(store, "train-1", {"model": b"x"})
    store.place.write("train-2/record.json", store.place.read("train-1/record.json") or b"")
    assert "is the record of train-1" in found(store)["train-2/record.json"]


def test_what_was_found_sound_before_is_not_read_again(tmp_path: Path) -> None:
    files = [Expected("a", 1, "x"), Expected("b", 2, "y")]
    seen = Seen(tmp_path / "state" / "verified")
    seen.add(files[0])
    with open(tmp_path / "state" / "verified", "ab") as file:
        file.write(b'["b", 2')  # killed in the middle of a line
    again = Seen(tmp_path / "state" / "verified")
    assert files[0] in again and files[1] not in again and Expected("a", 1, "z") not in again
    again.forget()
    assert files[0] not in Seen(tmp_path / "state" / "verified")
