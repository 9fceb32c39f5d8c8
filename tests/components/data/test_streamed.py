"""Sources that are read from afar, and those that are larger than the cache: the same examples, bit for bit, in bounded room."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.data import Corrupted, Folder, Invert, Mixture, Npz, Parquet, Split, WebDataset, cache, order, source, stream, streamed
from components.data.examples import Rows
from components.data.lookahead import lookahead
from components.objectives.batches import ahead
from components.types import DataError, Dataset, Local
from tests.components.data.pictures import encoded, photo
from tests.components.data.test_captioned import labelled, tar
from tests.components.data.test_folder import Pinned, pin

N = 60
IMAGES = [encoded(photo(i, 40 + i % 3, 40)) for i in range(N)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces and chunks of a few examples."""
    monkeypatch.setattr(streamed, "PIECE", 20_000)
    monkeypatch.setattr(source, "PIECE", 9_000)
    monkeypatch.setattr(source, "GAP", 3_000)
    monkeypatch.setattr(stream, "AHEAD", 1)


def written(root: Path) -> dict[str, Path]:
    """The same pictures in every format."""
    half = N // 2
    for i, content in enumerate(IMAGES):
        path = root / "folder" / ("cat" if i % 3 else "dog") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for part in range(2):
        members = {}
        for i in range(part * half, part * half + half):
            members |= {f"{i:04d}.png": IMAGES[i], f"{i:04d}.cls": str(i % 3).encode()}
        tar(root / "tars" / f"{part}.tar", members)
    (root / "tables").mkdir()
    table = pa.table({"image": IMAGES, "label": np.arange(N) % 3})
    pq.write_table(table, root / "tables" / "x.parquet", row_group_size=7)
    np.savez(root / "x.npz", images=np.stack([photo(i, 40, 40) for i in range(N)]), labels=np.arange(N) % 3)
    return {name: root / name for name in ("folder", "tars", "tables", "x.npz")}


SIZE = sum(map(len, IMAGES))
READERS = {"folder": Folder, "tars": WebDataset, "tables": Parquet, "x.npz": Npz}


@pytest.fixture
def away(tmp_path: Path) -> Iterator[str]:
    """The address of a copy that is not on this disk."""
    written(tmp_path / "here")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "here"), "/away", recursive=True)
    yield "memory://away"
    memory.rm("/away", recursive=True)


def same(found: Rows, wanted: Rows, indices: np.ndarray | range) -> bool:
    images = zip(found.images(indices), wanted.images(indices), strict=True)
    return all(np.array_equal(a, b) for a, b in images) and list(found.ids) == list(wanted.ids) and np.array_equal(found.labels, wanted.labels)


def used(run: Local) -> int:
    return sum(path.stat().st_size for path in Path(run.cache).rglob("*") if path.is_file())


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("share", [0.7, 0.5, 0.35])
def test_larger_than_the_cache(tmp_path: Path, away: str, name: str, share: float) -> None:
    """The examples and order of the memory-mapped path, while the cache stays within its limit."""
    wanted = READERS[name](str(tmp_path / "here" / name)).open(Local(str(tmp_path / "plenty")))
    assert not isinstance(wanted.pixels, streamed.Streamed)
    run = Local(str(tmp_path / "run"), cache_limit=int(SIZE * share) + 12_000)
    found = READERS[name](f"{away}/{name}").open(run)
    assert isinstance(found.pixels, streamed.Streamed) and found.digest == wanted.digest
    for step in range(8):
        assert same(found, wanted, order.batch(N, 17, 0, step))
        assert used(run) <= run.cache_limit
    assert same(found, wanted, range(N)) and used(run) <= run.cache_limit
    again = READERS[name](f"{away}/{name}").open(run)
    assert same(again, wanted, range(N))


def test_the_index_stays_while_it_is_used_and_goes_after_its_pieces(tmp_path: Path, away: str) -> None:
    """Who opens the data next would read all of it again."""
    run = Local(str(tmp_path / "run"), cache_limit=int(SIZE * 0.7))
    found = WebDataset(f"{away}/tars").open(run)
    (index,) = Path(run.cache).glob("data-*/done.json")
    os.utime(index, (0, 0))
    found.images([0])  # one by itself: nothing is brought ahead of it
    assert index.stat().st_mtime > 1e9
    os.utime(index, (0, 0))
    cache.room(run, run.cache_limit)
    assert index.exists() and not list(Path(run.cache, "pieces").iterdir())
    del found
    assert cache.room(run, run.cache_limit) == run.cache_limit and not index.exists()


def test_a_piece_that_was_not_yet_on_the_disk_when_the_machine_went_down(tmp_path: Path, away: str) -> None:
    wanted = WebDataset(str(tmp_path / "here" / "tars")).open(Local(str(tmp_path / "plenty")))
    run = Local(str(tmp_path / "run"), cache_limit=int(SIZE * 0.9))
    found = WebDataset(f"{away}/tars").open(run)
    found.images(range(N))
    pieces = list(Path(run.cache, "pieces").iterdir())
    for path in pieces:
        path.write_bytes(bytes(path.stat().st_size))
    assert pieces and same(found, wanted, range(N)) and same(found, wanted, range(N))
    assert any(path.exists() and any(path.read_bytes()) for path in pieces)


def test_parts_and_shifts_of_what_is_streamed(tmp_path: Path, away: str) -> None:
    def data(url: str) -> Dataset:
        return Mixture((Split(WebDataset(f"{url}/tars"), 0.0, 0.6), Corrupted(Split(WebDataset(f"{url}/tars"), 0.6, 1.0), Invert())))

    run = Local(str(tmp_path / "run"), cache_limit=80_000)
    found, wanted = data(away).open(run), data(str(tmp_path / "here")).open(Local(str(tmp_path / "plenty")))
    assert same(found, wanted, np.random.default_rng(0).permutation(N))


def test_what_changed_is_noticed(tmp_path: Path, away: str) -> None:
    """Replaced or deleted before the first pass and in mid-epoch."""
    memory = fsspec.filesystem("memory")
    pinned = pin(tmp_path / "here" / "tars", tmp_path / "run")
    run = Pinned(str(tmp_path / "run"), cache_limit=150_000)
    run.files = pinned.files
    found = WebDataset(f"{away}/tars", pinned="m").open(run)
    whole = memory.cat("/away/tars/1.tar")
    flipped = bytearray(whole)
    flipped[whole.index(IMAGES[50]) + 1000] ^= 1
    for content, message in ((bytes(flipped), "is not what was pinned"), (whole[:50_000], "bytes where"), (None, "is not there any more")):
        memory.rm("/away/tars/1.tar")
        if content is not None:
            memory.pipe("/away/tars/1.tar", content)
        fresh = Pinned(str(tmp_path / f"fresh-{message}"))
        fresh.files = pinned.files
        with pytest.raises(DataError, match=rf"1\.tar: .*{message}.*pin the data anew"):
            WebDataset(f"{away}/tars", pinned="m").open(fresh)
        with pytest.raises(DataError, match=r"away/tars/1\.tar.*pin the data anew"):
            [found.images([index]) for index in range(N)]
        memory.pipe("/away/tars/1.tar", whole)
        assert len(found.images(range(N))) == N  # and nothing wrong was kept


def test_row_groups_that_are_larger_than_the_cache_are_refused(tmp_path: Path) -> None:
    """Each batch would read them whole."""
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"image": IMAGES, "label": np.arange(N) % 3}), tmp_path / "t" / "x.parquet")
    with pytest.raises(ValueError, match=r"x\.parquet: \d+ bytes of it are read at once, more .* raise --cache_limit, or .* smaller row groups"):
        Parquet(str(tmp_path / "t")).open(Local(str(tmp_path / "run"), cache_limit=SIZE // 2))


def test_what_is_compressed_as_a_whole_cannot_be_larger(tmp_path: Path) -> None:
    tar(tmp_path / "x.tar.gz", labelled(0, 40), "w:gz")
    with pytest.raises(ValueError, match=r"even encoded, its images exceed .* raise --cache_limit, or store them otherwise"):
        WebDataset(str(tmp_path)).open(Local(str(tmp_path / "run"), cache_limit=20_000))


def test_training_from_afar_is_training(tmp_path: Path, away: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same batches in the same order, with pieces brought ahead; a piece is fetched once a window, and no thread stays."""
    monkeypatch.setattr(order, "SHARD", 4)
    monkeypatch.setattr(order, "WINDOW", 4)
    order._shards.cache_clear(), order._window.cache_clear()
    found = WebDataset(f"{away}/tars").open(Local(str(tmp_path / "run"), cache_limit=int(SIZE * 0.8)))
    wanted = WebDataset(str(tmp_path / "here" / "tars")).open(Local(str(tmp_path / "plenty")))
    assert found.pixels.kept == len(found.pixels.starts) - 1 > 8  # type: ignore[attr-defined]
    threads, steps = threading.active_count(), 3 * N // 6

    def draw(step: int) -> np.ndarray:
        return order.batch(N, 6, 1, step)

    coming = lookahead(found, draw, 2, steps)
    assert coming is not None and lookahead(wanted, draw, 2, steps) is None
    batches = dict(ahead(lambda step: found.images(draw(step)), 2, steps, "cpu", coming))  # type: ignore[arg-type,return-value]
    assert list(batches) == list(range(2, steps))
    for step, images in batches.items():
        assert all(np.array_equal(a, b) for a, b in zip(images, wanted.images(draw(step)), strict=True))  # type: ignore[call-overload]
    left = {thread.name for thread in threading.enumerate() if "lookahead" in thread.name or "ThreadPool" in thread.name}
    assert not left and threading.active_count() <= threads + streamed.READERS
    order._shards.cache_clear(), order._window.cache_clear()


def opened(reader: bytes, cache: str, limit: int, log: str) -> None:
    streamed.PIECE, order.SHARD, order.WINDOW = 20_000, 2, 4
    fetch = source.Source.fetch

    def told(self: source.Source, ranges: list) -> list[bytes]:
        with open(log, "a") as file:
            file.writelines(f"{one[0].name} {one[1]} {one[2]}\n" for one in ranges)
        return fetch(self, ranges)

    source.Source.fetch = told  # type: ignore[method-assign]
    found = pickle.loads(reader).open(Local(cache, cache_limit=limit))
    assert isinstance(found.pixels, streamed.Streamed) and len(found.images(np.arange(N // 2))) == N // 2


def test_processes_of_a_node_share_the_pieces(tmp_path: Path) -> None:
    """Readers cross to spawned processes, opened files do not; whoever comes first fetches."""
    written(tmp_path / "here")
    data = pickle.dumps(WebDataset(str(tmp_path / "here" / "tars")))
    context, logs = multiprocessing.get_context("spawn"), [str(tmp_path / f"log-{k}") for k in range(3)]
    arguments = (data, str(tmp_path / "run"), int(SIZE * 0.9))
    for some in (logs[:2], logs[2:]):
        workers = [context.Process(target=opened, args=(*arguments, log)) for log in some]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(300)
        assert [worker.exitcode for worker in workers] == [0] * len(some)
    read = [Path(log).read_text().splitlines() for log in logs]
    whole = {f"{part}.tar 0 {(tmp_path / 'here' / 'tars' / f'{part}.tar').stat().st_size}" for part in range(2)}
    assert all(len(lines) >= 2 and set(lines[:2]) == whole for lines in read)  # its digest, which nothing pins
    pieces = [line for lines in read for line in lines if line not in whole]
    assert len(pieces) == len(set(pieces)) > 5


def test_a_stream_says_what_the_store_said(tmp_path: Path) -> None:
    """A tar reader takes any OSError for damage; what lies behind it is not."""
    tar(tmp_path / "x.tar", labelled(0, 3))

    class Broken(source.Source):
        def fetch(self, ranges: object) -> list[bytes]:
            raise OSError("the store failed (503); run the same command again")

    found = source.Source.open(str(tmp_path), "", Local(str(tmp_path / "run")))
    broken = Broken(found.url, found.root, found.filesystem, found.select(lambda name: True))
    with pytest.raises(OSError, match="503"):
        for _, one in broken.streams(broken.files):
            with one, pytest.raises(DataError):
                list(__import__("components.data.webdataset", fromlist=["x"])._members(one, "x.tar"))
    with tarfile.open(tmp_path / "x.tar") as archive:
        assert len(archive.getnames()) == 6
