"""The node's cache: built once, whatever dies; shared; bounded."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.data import Corrupted, Folder, Invert, Mixture, Sample, cache, views
from components.data.decoded import Encoded
from components.data.streamed import Streamed
from components.types import Local
from tests.components.data.pictures import class_folders

SLOW = """
import sys, time
from components.data import cache
from components.types import Local
def build(folder):
    open(f"{folder}/half.bin", "wb").write(b"x")
    print("building", flush=True)
    time.sleep(60)
cache.cached(Local(sys.argv[1]), "key", build, lambda folder: None)
"""


def append(path: str, run_dir: str) -> None:
    def build(folder: str) -> None:
        with open(path, "a") as file:
            file.write("built\n")
        time.sleep(0.2)
        Path(folder, "data").write_bytes(b"content")

    assert cache.cached(Local(run_dir), "key", build, lambda folder: Path(folder, "data").read_bytes()) == b"content"


def test_one_builds_while_others_wait(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=append, args=(str(tmp_path / "log"), str(tmp_path))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert (tmp_path / "log").read_text() == "built\n"


def test_a_killed_builder_leaves_nothing_that_counts(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], stdout=subprocess.PIPE) as builder:
        assert builder.stdout and builder.stdout.readline() == b"building\n"
        builder.send_signal(signal.SIGKILL)
    left = [name for name in os.listdir(tmp_path / "cache") if name.endswith(".tmp")]
    assert len(left) == 1
    append(str(tmp_path / "log"), str(tmp_path))
    assert (tmp_path / "log").read_text() == "built\n"
    assert not [name for name in os.listdir(tmp_path / "cache") if name.endswith(".tmp")]


def test_a_failing_builder_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: str) -> None:
        Path(folder, "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.cached(Local(str(tmp_path)), "key", build, lambda folder: None)
    assert os.listdir(tmp_path / "cache") == ["key.lock"]


@pytest.mark.parametrize("damage", ["truncate", "remove", "marker"])
def test_a_damaged_folder_is_built_again(tmp_path: Path, damage: str) -> None:
    append(str(tmp_path / "log"), str(tmp_path))
    data = tmp_path / "cache" / "key" / "data"
    if damage == "truncate":
        data.write_bytes(b"con")
    elif damage == "remove":
        data.unlink()
    else:
        (tmp_path / "cache" / "key" / "done.json").write_text('{"data": ')
    append(str(tmp_path / "log"), str(tmp_path))
    assert (tmp_path / "log").read_text() == "built\n" * 2


@pytest.fixture(params=[False, True], ids=["one size", "sizes differ"])
def pets(tmp_path: Path, request: pytest.FixtureRequest) -> Folder:
    return Folder(str(class_folders(tmp_path / "pets", {"cat": 40, "dog": 30}, sizes=request.param)))


def test_decoding_happens_once(tmp_path: Path, pets: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Local(str(tmp_path / "run"))
    first = pets.open(run)
    written = {path: path.stat().st_mtime_ns for path in Path(run.cache).rglob("*.bin")}
    second = pets.open(run)
    assert {path: path.stat().st_mtime_ns for path in Path(run.cache).rglob("*.bin")} == written
    assert all(np.array_equal(a, b) for a, b in zip(first.images(range(70)), second.images(range(70)), strict=True))
    with pytest.raises(ValueError, match="read-only"):
        second.images([0])[0][0] = 0  # trials share the bytes


def test_encoded_bytes_where_pixels_do_not_fit(tmp_path: Path, pets: Folder) -> None:
    plenty, tight = Local(str(tmp_path / "a")), Local(str(tmp_path / "b"))
    wanted = pets.open(plenty)
    pixels = sum(image.size for image in wanted.images(range(70)))
    encoded = sum(path.stat().st_size for path in (tmp_path / "pets").rglob("*.png"))
    sources = class_folders(tmp_path / "flat", {"cat": 2, "dog": 2})
    for path in sources.rglob("*.png"):  # compresses well
        Image.new("RGB", (64, 64)).save(path)
    flat = Folder(str(sources))
    tight.cache_limit = 4 * 64 * 64 * 3 - 1
    kept = flat.open(tight)
    assert isinstance(kept.pixels, Encoded)  # type: ignore[attr-defined]
    assert all(np.array_equal(a, b) for a, b in zip(kept.images(range(4)), flat.open(plenty).images(range(4)), strict=True))
    assert kept.digest == flat.open(plenty).digest
    tight.cache_limit = min(pixels, encoded) // 2
    away = pets.open(tight)
    assert isinstance(away.pixels, Streamed)  # type: ignore[attr-defined]
    assert all(np.array_equal(a, b) for a, b in zip(away.images(range(70)), wanted.images(range(70)), strict=True))


def test_views_that_do_not_fit_are_made_on_access(tmp_path: Path, pets: Folder) -> None:
    run, tight = Local(str(tmp_path / "a")), Local(str(tmp_path / "a"), cache_limit=10)
    found = pets.open(run)
    made, kept = views.evaluation(found, {"size": 20}, tight), views.evaluation(found, {"size": 20}, run)
    assert isinstance(kept, np.memmap) and not isinstance(made, np.ndarray)
    assert made.shape == kept.shape and made.dtype == kept.dtype and len(made) == len(kept)
    for index in (3, slice(60, 90), np.array([5, 1, 5]), np.array([], int), slice(0, 0)):
        assert np.array_equal(made[index], kept[index])
    again = views.evaluation(found, {"size": 20}, tight)
    assert isinstance(again, np.memmap)  # what is there already costs nothing


def kept(run: Local, name: str, size: int, age: float = 0.0) -> None:
    """A finished folder that was last opened so many seconds ago."""
    cache.cached(run, name, lambda folder: Path(folder, "data.bin").write_bytes(b"x" * size) and None, lambda folder: None)
    os.utime(Path(run.cache, name, "done.json"), (time.time() - age,) * 2)


def test_the_least_recently_used_makes_room(tmp_path: Path) -> None:
    run = Local(str(tmp_path), cache_limit=1000)
    for name, age in (("fresh", 0), ("older", 99), ("old", 9)):
        kept(run, name, 280, age)
    assert cache.room(run, 50) < 150 and cache.exists(run, "older")
    assert cache.room(run, 200) > 300
    assert not cache.exists(run, "older") and cache.exists(run, "old") and cache.exists(run, "fresh")
    held = cache.mapped(os.path.join(run.cache, "old", "data.bin"))[3:]
    assert 600 < cache.room(run, 10**9) < 720
    assert cache.exists(run, "old") and not cache.exists(run, "fresh")  # what somebody reads stays
    del held
    assert cache.room(run, 10**9) == 1000 and not cache.exists(run, "old")


def test_what_is_being_built_stays_and_what_a_killed_builder_left_goes(tmp_path: Path) -> None:
    run = Local(str(tmp_path), cache_limit=1000)
    with subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], stdout=subprocess.PIPE) as builder:
        assert builder.stdout and builder.stdout.readline() == b"building\n"
        assert cache.room(run, 10**9) == 999
        builder.send_signal(signal.SIGKILL)
    assert cache.room(run, 10**9) == 1000 and set(os.listdir(run.cache)) == {"key.lock", "room.lock"}


def test_what_others_keep_in_that_folder_is_not_ours(tmp_path: Path) -> None:
    """The cache may be told to lie in the root of a node's disk."""
    run = Local(str(tmp_path), cache=str(tmp_path / "disk"), cache_limit=1000)
    kept(run, "old", 280)
    theirs = {Path(run.cache, name) for name in ("thesis/data.bin", "thesis/done.json", "results.tmp/x", "pieces/of mine", "model.bin")}
    for path in theirs:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 5000)
    assert cache.room(run, 10**9) == 1000 and not cache.exists(run, "old")
    assert all(path.stat().st_size == 5000 for path in theirs)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_one_line(tmp_path: Path, small_disk: Path) -> None:
    """And what is there already stays whole, and can be used."""
    run = Local(str(tmp_path / "run"), cache=str(small_disk))
    pets = Folder(str(class_folders(tmp_path / "pets", {"cat": 40, "dog": 30})))
    wanted = pets.open(run).images(range(70))
    large = Folder(str(class_folders(tmp_path / "more", {"cat": 2, "dog": 2})))
    for path in (tmp_path / "more").rglob("*.png"):
        Image.new("RGB", (1000, 1000)).save(path)
    with pytest.raises(OSError, match=r"disk: the disk is full \(No space left on device\); free some, lower --cache_limit, or") as caught:
        large.open(run)
    assert "\n" not in str(caught.value) and not list(small_disk.glob("*.tmp"))
    assert all(np.array_equal(a, b) for a, b in zip(pets.open(run).images(range(70)), wanted, strict=True))


def test_columns_survive_the_cache(tmp_path: Path, pets: Folder) -> None:
    run = Local(str(tmp_path / "run"))
    found = pets.open(run)
    folder = next(path for path in Path(run.cache).iterdir() if path.name.startswith("data-") and path.is_dir())
    assert json.loads((folder / "facts.json").read_text())["layout"] == "pixels"
    joined = Mixture((Sample(Corrupted(pets, Invert()), 5),)).open(run)
    where = [list(found.ids).index(name) for name in joined.ids]
    assert all(np.array_equal(255 - a, b) for a, b in zip(found.images(where), joined.images(range(5)), strict=True))
