"""A folder at a URL: exclusive creation, atomic writes, one-line errors."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from infra.errors import StoreError
from infra.store.place import Place, absolute
from tests.infra.store.races import alone, create, killed_before_the_link, race


def test_one_of_sixteen_processes_creates_a_name(tmp_path: Path) -> None:
    winners = race(create, str(tmp_path), 16)
    assert len(winners) == 1
    assert (tmp_path / "name").read_bytes() == f"process {winners[0]}\n".encode() * 1000
    assert os.listdir(tmp_path) == ["name"]  # the losers leave nothing


def test_a_kill_between_the_temporary_file_and_the_link_leaves_nothing_visible(tmp_path: Path) -> None:
    assert alone(killed_before_the_link, str(tmp_path)) == -signal.SIGKILL
    place = Place(str(tmp_path))
    assert not place.exists("add-1/record.json")
    assert place.read("add-1/record.json") is None
    assert place.create("add-1/record.json", b"whole")
    assert place.read("add-1/record.json") == b"whole"


def test_what_is_created_stays_and_what_is_written_is_replaced(tmp_path: Path) -> None:
    place = Place(str(tmp_path / "new" / "store"))
    assert place.create("a/b/c", b"first") and not place.create("a/b/c", b"second")
    assert place.read("a/b/c") == b"first"
    place.write("a/b/c", b"third")
    assert place.read("a/b/c") == b"third"
    assert place.names("a/b") == ["c"] and place.names("nowhere") == []
    place.remove("a")
    place.remove("a")
    assert place.read("a/b/c") is None and place.names() == []


def test_a_file_in_the_way_of_a_folder_is_nothing_there(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    place.write("a", b"")
    assert place.read("a/b") is None
    with pytest.raises(StoreError, match="cannot be written"):
        place.create("a/b", b"")


def test_a_full_disk_is_one_line_and_leaves_no_part(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        for attempt in (place.create, place.write):
            with pytest.raises(StoreError) as caught:
                attempt("big", b"x" * 2000)
            assert "big: cannot be written: File too large" in str(caught.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert os.listdir(tmp_path) == []


def test_many_are_read_and_a_listing_is_a_stream(tmp_path: Path) -> None:
    for place in (Place(str(tmp_path)), Place("memory://place")):
        for name in ("a/b/c", "a/d", "e"):
            place.write(name, name.encode())
        assert place.read_many(["e", "nothing", "a/d"]) == {"e": b"e", "nothing": None, "a/d": b"a/d"}
        assert sorted((name, size) for name, size, _ in place.find("a")) == [("b/c", 5), ("d", 3)]
        assert sorted(name for name, _, _ in place.find()) == ["a/b/c", "a/d", "e"] and list(place.find("nowhere")) == []
        assert place.exists("a/d") and not place.exists("a/x") and place.remove("a") and place.names() == ["e"]


def test_a_url_with_a_secret_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match=r"s3://\*\*\*@bucket: credentials do not belong in a URL") as caught:
        Place("s3://key:secret@bucket/store")
    assert "secret" not in str(caught.value)


def test_addresses_mean_the_same_in_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("a/../b") == absolute(f"file://{tmp_path}/b") == str(tmp_path / "b")
    assert absolute("s3://bucket/a/") == "s3://bucket/a"


def test_a_file_system_that_somebody_registered_is_known_and_another_is_not() -> None:
    class Own(MemoryFileSystem):
        protocol = "own"

    fsspec.register_implementation("own", Own, clobber=True)
    Place("own://folder").write("a", b"1")
    assert Place("own://folder").read("a") == b"1"
    with pytest.raises(ValueError, match="nothing here knows foo://"):
        Place("foo://folder")


@pytest.mark.parametrize("url", ["s3:/bucket/a", "S3://bucket/a", "s3://", "s3:///a", "s3//bucket/a", "file:/a"])
def test_what_is_nearly_a_url_is_no_folder_here(url: str) -> None:
    with pytest.raises(ValueError, match="write it like s3://bucket/folder"):
        Place(url)
