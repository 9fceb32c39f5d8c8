"""Pins: what a source holds is its identity, and what is known is not read again."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.types import revision
from components.weights.digests import digests_of
from components.weights.files import CHUNK, digest
from infra.errors import IntegrityError
from infra.store import manifest, pins
from infra.store.manifest import Entry, Manifest
from infra.store.pins import Pins, pinned, sources
from infra.store.place import Place


@revision(1)
@dataclass(frozen=True)
class Source:
    url: Annotated[str, "address"]
    pinned: Annotated[str, "content"] = ""


@revision(1)
@dataclass(frozen=True)
class Part:
    data: Source
    low: float = 0.0


class World:
    """A store, a folder of two files, and the names of the files whose bytes were read."""

    def __init__(self, folder: Path) -> None:
        self.read: list[str] = []
        self.place = Place(str(folder / "store"))
        self.photos = folder / "photos"
        (self.photos / "cat").mkdir(parents=True)
        (self.photos / "cat" / "1.png").write_text("one")
        (self.photos / "2.png").write_text("two")

    def digests(self, files: Iterable[tuple[str, int]]) -> Iterator[str]:
        for url, size in files:
            self.read.append(Path(url).name)
            yield from digests_of([(url, size)])

    def pin(self, url: Path | None = None) -> str:
        self.read.clear()
        found = Pins(self.place, self.digests).pin(str(url or self.photos))
        assert found.read == len(self.read)
        return found.pin


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_manifest_lists_names_sizes_and_digests(world: World) -> None:
    assert list(manifest.read(world.place, world.pin())) == [Entry("2.png", 3, digest(b"two")), Entry("cat/1.png", 3, digest(b"one"))]
    assert sorted(world.read) == ["1.png", "2.png"]


def test_pinning_again_reads_nothing(world: World) -> None:
    first = world.pin()
    assert world.pin() == first and world.read == []


def test_a_changed_file_alone_is_read_again(world: World) -> None:
    first = world.pin()
    (world.photos / "2.png").write_text("TWO")  # of the same size: it is the time that tells
    os.utime(world.photos / "2.png", (1, 1))
    assert world.pin() != first and world.read == ["2.png"]
    (world.photos / "2.png").write_text("two")
    os.utime(world.photos / "2.png", (2, 2))
    assert world.pin() == first and world.read == ["2.png"]  # the same bytes are the same data


def test_a_file_that_was_replaced_by_one_of_the_same_size_and_time_is_read_again(world: World) -> None:
    """A reader would refuse it, and tell people to pin it anew."""
    first, path = world.pin(), world.photos / "2.png"
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_text("TWO")
    os.utime(path, ns=times)
    assert world.pin() != first and world.read == ["2.png"]


@pytest.mark.parametrize("damage", ["cut", "spoiled"])
def test_what_a_disk_has_spoiled_is_hashed_again(damage: str, world: World) -> None:
    first = world.pin()
    (part,) = world.photos.parent.glob("store/pins/*/*")
    rows = part.read_bytes()
    part.write_bytes(rows[:-48] if damage == "cut" else rows[:-1] + bytes([rows[-1] ^ 1]))
    assert world.pin() == first and sorted(world.read) == ["1.png", "2.png"] and world.pin() == first and not world.read


def test_a_new_a_removed_and_a_renamed_file_change_the_pin(world: World) -> None:
    pins = [world.pin()]
    (world.photos / "3.png").write_text("three")
    pins.append(world.pin())
    (world.photos / "3.png").rename(world.photos / "4.png")
    pins.append(world.pin())
    (world.photos / "4.png").unlink()
    assert world.pin() == pins[0] and len(set(pins)) == 3


def test_hidden_files_are_no_data(world: World) -> None:
    first = world.pin()
    (world.photos / ".DS_Store").write_text("x")
    (world.photos / ".cache").mkdir()
    (world.photos / ".cache" / "y").write_text("y")
    assert world.pin() == first


def test_a_link_to_a_folder_is_that_folder(world: World, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(world.photos, target_is_directory=True)
    assert world.pin(tmp_path / "link") == world.pin(world.photos)


def test_a_linked_folder_below_the_source_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (world.photos / "cats").symlink_to(tmp_path / "cats", target_is_directory=True)
    with pytest.raises(ValueError, match="cats is a link to a folder; put the folder itself there"):
        world.pin()


def test_a_single_file_is_a_source(world: World) -> None:
    assert list(manifest.read(world.place, world.pin(world.photos / "2.png"))) == [Entry("", 3, digest(b"two"))]


def test_a_source_that_is_not_there_is_the_callers_mistake(world: World, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for missing in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(ValueError) as caught:
            world.pin(missing)
        assert str(missing) in str(caught.value) and "check the path" in str(caught.value)


def test_a_forgotten_manifest_is_said(world: World) -> None:
    with pytest.raises(ValueError, match="run the study again"):
        manifest.read(world.place, "0" * 20)


def test_sources_are_found_and_pinned_inside_dataclasses(world: World) -> None:
    data = [Part(Source("a"), low=0.5), {"more": Source("b")}, "a"]
    assert list(sources(data)) == ["a", "b"]
    assert pinned(data, {"a": "1", "b": "2"}) == [Part(Source("a", "1"), low=0.5), {"more": Source("b", "2")}, "a"]


def test_an_interrupted_pin_keeps_what_it_has_hashed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "EVERY", 0.0)

    def dies(files: Iterable[tuple[str, int]]) -> Iterator[str]:
        yield next(world.digests(files))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pins(world.place, dies).pin(str(world.photos))
    first = set(world.read)
    world.pin()
    assert len(first) == 1 and set(world.read) == {"1.png", "2.png"} - first
    world.pin()
    assert not world.read and len(list(world.photos.parent.glob("store/pins/*/*"))) == 1


@pytest.mark.parametrize(("then", "told"), [("change", "2.png and 0 other files changed"), ("add", "files were added"), ("remove", "2.png and 0")])
def test_data_that_changes_while_it_is_pinned_is_refused_and_read_anew(then: str, told: str, world: World) -> None:
    def meanwhile(files: Iterable[tuple[str, int]]) -> Iterator[str]:
        yield from digests_of(files)
        if then == "change":
            os.utime(world.photos / "2.png", (1, 1))
        elif then == "add":
            (world.photos / "3.png").write_text("three")
        else:
            (world.photos / "2.png").unlink()

    with pytest.raises(IntegrityError, match=f"{told}.* while it was pinned; run again"):
        Pins(world.place, meanwhile).pin(str(world.photos))
    world.pin()
    assert world.read == {"change": ["2.png"], "add": ["3.png"], "remove": []}[then]


def test_a_manifest_whose_bytes_changed_is_refused(world: World) -> None:
    pin = world.pin()
    content = world.place.read(f"manifests/{pin}.json") or b""
    world.place.write(f"manifests/{pin}.json", content.replace(b",3,", b",4,", 1))
    with pytest.raises(IntegrityError, match="its bytes changed; remove it"):
        manifest.read(world.place, pin)


@given(st.dictionaries(st.text(), st.tuples(st.integers(0, 2**62), st.binary(min_size=32, max_size=32))))
def test_a_manifest_comes_back_from_its_canonical_json(files: dict[str, tuple[int, bytes]]) -> None:
    rows = [[name, size, digest.hex()] for name, (size, digest) in sorted(files.items())]
    columns = [row[0] for row in rows], array("q", [row[1] for row in rows]), bytearray(b"".join(bytes.fromhex(row[2]) for row in rows))
    content = Manifest(*columns).to_bytes()
    assert content == json.dumps(rows, separators=(",", ":")).encode()
    found = Manifest.from_bytes(content)
    assert list(found) == [Entry(*row) for row in rows] == found[:] and (not rows or found[-1] == Entry(*rows[-1]))


def test_remote_data_is_listed_and_hashed_many_files_at_once(world: World) -> None:
    memory = fsspec.filesystem("memory")
    url = f"memory://{world.photos.name}-{os.getpid()}"
    contents = {f"{k % 7}/{k}.txt": b"x" * (k % 5) for k in range(300)} | {"large": b"y" * (CHUNK + 1)}
    try:
        for name, content in contents.items():
            memory.pipe_file(f"{url}/{name}", content)
        found = Pins(world.place, digests_of).pin(url)
        assert (found.files, found.read, found.bytes) == (301, 301, sum(map(len, contents.values())))
        assert list(manifest.read(world.place, found.pin)) == [Entry(name, len(contents[name]), digest(contents[name])) for name in sorted(contents)]
        memory.pipe_file(f"{url}/0/0.txt", b"")  # the same bytes, written again
        again = Pins(world.place, digests_of).pin(url)
        assert (again.pin, again.read) == (found.pin, 1)
    finally:
        memory.rm(url, recursive=True)


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_a_pattern_pins_the_files_of_that_name_in_its_folder_alone(scheme: str, tmp_path: Path) -> None:
    names = ["train-0.tar", "train-1.tar", "val-0.tar", "deep/train-2.tar", ".train-3.tar"]
    root = f"{scheme}{tmp_path}"
    for name in names:
        with fsspec.open(f"{root}/{name}", "wb", auto_mkdir=True) as file:
            file.write(name.encode())
    place = Place(str(tmp_path / "store"))
    found = Pins(place, digests_of).pin(f"{root}/train-*.tar")
    assert [entry.name for entry in manifest.read(place, found.pin)] == ["train-0.tar", "train-1.tar"]
    with pytest.raises(ValueError, match=r"test-\*\.tar: no such file"):
        Pins(place, digests_of).pin(f"{root}/test-*.tar")
