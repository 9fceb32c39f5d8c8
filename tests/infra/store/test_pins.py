"""Pins: what a source holds is its identity, and what is known is not read again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from components.types import revision
from components.weights.files import digest, pieces
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

    def digest(self, url: str) -> str:
        self.read.append(Path(url).name)
        return digest(pieces(url))

    def pin(self, url: Path | None = None) -> str:
        self.read.clear()
        return Pins(self.place, self.digest).pin(str(url or self.photos))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_manifest_lists_names_sizes_and_digests(world: World) -> None:
    assert Pins(world.place, str).manifest(world.pin()) == [("2.png", 3, digest(b"two")), ("cat/1.png", 3, digest(b"one"))]
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
    assert Pins(world.place, str).manifest(world.pin(world.photos / "2.png")) == [("", 3, digest(b"two"))]


def test_a_source_that_is_not_there_is_the_callers_mistake(world: World, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for missing in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(ValueError) as caught:
            world.pin(missing)
        assert str(missing) in str(caught.value) and "check the path" in str(caught.value)


def test_a_forgotten_manifest_is_said(world: World) -> None:
    with pytest.raises(ValueError, match="run the study again"):
        Pins(world.place, str).manifest("0" * 20)


def test_sources_are_found_and_pinned_inside_dataclasses(world: World) -> None:
    data = [Part(Source("a"), low=0.5), {"more": Source("b")}, "a"]
    assert list(sources(data)) == ["a", "b"]
    assert pinned(data, {"a": "1", "b": "2"}) == [Part(Source("a", "1"), low=0.5), {"more": Source("b", "2")}, "a"]
