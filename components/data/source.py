"""A source at a URL: its files, pinned or listed, read in parallel ahead of whoever uses them, each verified by size and digest."""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from components.data.examples import combined
from components.data.names import hidden, safe, shown
from components.data.stream import AHEAD, Ranged, Stream
from components.types import DataError, Dataset, File, Run
from components.weights.files import CHUNK, digest, found
from components.weights.threads import ordered

PIECE = 1 << 23  # bytes of one request
READERS = 8
MANY = 256  # small files of one request
GAP = 1 << 16  # bytes that are read for nothing rather than with a request of their own

Range = tuple[int, int, int]  # a file by number, and the bytes [start, stop) of it


@dataclass(frozen=True, eq=False)
class Source:
    """The files at or below a URL, by name; the name "" is the URL itself. `files` of a listed source have no digest until `select`."""

    url: str
    root: str
    filesystem: Any
    files: tuple[File, ...]

    @classmethod
    def open(cls, url: str, pinned: str, run: Run, begin: str | None = None) -> Source:
        """From the pinned manifest, or a listing where nothing is pinned; ValueError where there is nothing.

        begin: list no more than the files of the folder itself whose names begin so: what else lies there may be a whole bucket.
        """
        import fsspec

        if not url:
            raise ValueError("the source has no url; give a folder or a file")
        filesystem, root = fsspec.core.url_to_fs(url)
        root = root.rstrip("/")
        files = run.manifest(pinned) if pinned else _listed(url, filesystem, root, begin)
        where = shown(url)
        named = ((safe(file.name, where) if file.name else "", file) for file in files)
        kept = [file if name == file.name else File(name, file.size, file.digest) for name, file in named if not hidden(name)]
        return cls(url, root, filesystem, tuple(sorted(kept, key=lambda file: file.name)))

    def select(self, keep: Callable[[str], bool]) -> tuple[File, ...]:
        """The files whose name passes, with their digests; a single file that was named itself always passes."""
        chosen = [file for file in self.files if not file.name or keep(file.name)]
        unknown = [file for file in chosen if not file.digest]

        def digests(batch: list[File]) -> list[str]:
            return [digest(self.fetch([(file, start, min(start + CHUNK, file.size))])[0] for start in range(0, file.size, CHUNK)) for file in batch]

        found = (each for batch in ordered(lambda: digests, _batches(unknown, READERS), AHEAD + 1) for each in batch)
        return tuple(file if file.digest else dataclasses.replace(file, digest=next(found)) for file in chosen)

    def folders(self) -> list[str]:
        """Names of the folders directly below the root, empty ones too where the storage has such a thing."""
        inside = {file.name.split("/")[0] for file in self.files if "/" in file.name}
        if os.path.isdir(self.root) and self.local_disk:
            inside |= {entry.name for entry in os.scandir(self.root) if entry.is_dir() and not hidden(entry.name)}
        return sorted(inside)

    @property
    def local_disk(self) -> bool:
        """Whether paths are those of this machine."""
        from fsspec.implementations.local import LocalFileSystem

        return isinstance(self.filesystem, LocalFileSystem)

    def content(self, file: File) -> bytes:
        """All bytes of a file that is small enough to hold, verified."""
        return self._contents([file])[0]

    def contents(self, files: Iterable[File]) -> Iterator[bytes]:
        """The verified bytes of each file, in order; some are fetched ahead, small ones many at once."""
        for batch in ordered(lambda: self._contents, _batches(files, MANY), AHEAD + 1, AHEAD):
            yield from batch

    def _contents(self, files: Sequence[File]) -> list[bytes]:
        contents = self.fetch([(file, 0, file.size) for file in files])
        for file, content in zip(files, contents, strict=True):
            if digest(content) != file.digest:
                raise self._unlike(file)
        return contents

    def streams(self, files: Sequence[File]) -> Iterator[tuple[File, Stream]]:
        """Each file as a stream, for as long as the next one is not asked for; the next ones begin to arrive meanwhile."""
        pool = ThreadPoolExecutor(READERS)
        begun: deque[tuple[File, Stream]] = deque()
        waiting = iter(files)
        try:
            for _ in files:
                while not begun or sum(stream.begun() for _, stream in begun) < AHEAD * CHUNK:
                    file = next(waiting, None)
                    if file is None:
                        break
                    begun.append((file, self.stream(file, pool)))
                yield begun.popleft()
        finally:
            pool.shutdown(cancel_futures=True)

    def stream(self, file: File, pool: ThreadPoolExecutor) -> Stream:
        """One file as a stream whose pieces arrive in the threads of `pool`."""
        return Stream(file.size, file.digest, lambda start, stop: self.fetch([(file, start, stop)])[0], lambda: self._unlike(file), pool)

    def ranged(self, file: File) -> Ranged:
        """One file of which only parts are wanted."""
        return Ranged(file.size, lambda start, stop: self.fetch([(file, start, stop)])[0])

    def slices(self, files: Sequence[File], wanted: Sequence[Range]) -> list[bytes]:
        """The bytes of each range, which are sorted; near ones come with one request, and nothing is verified."""
        runs: list[list[Range]] = []
        for each in wanted:
            number, start, stop = each
            if runs and runs[-1][-1][0] == number and start <= runs[-1][-1][2] + GAP and stop - runs[-1][0][1] <= PIECE:
                runs[-1].append(each)
            else:
                runs.append([each])
        whole = self.fetch([(files[run[0][0]], run[0][1], run[-1][2]) for run in runs])
        return [content[start - run[0][1] : stop - run[0][1]] for run, content in zip(runs, whole, strict=True) for _, start, stop in run]

    def fetch(self, ranges: Sequence[tuple[File, int, int]]) -> list[bytes]:
        """The bytes [start, stop) of some files, all at once; DataError where a file is gone, shorter, or longer than it was."""
        asked: list[tuple[File, int, int]] = []
        edges = [0]
        for file, start, stop in ranges:
            cuts = [*range(start, stop, PIECE), stop] if stop > start else []
            asked += [(file, low, high + (high == file.size)) for low, high in pairwise(cuts)]  # a longer file gives one byte more
            edges.append(len(asked))
        pieces = list(map(self._pread, asked)) if self.local_disk else self._cat(asked)
        for k, (file, start, stop) in enumerate(asked):
            beyond = stop > file.size
            if not beyond and len(pieces[k]) > stop - start:
                raise ValueError(f"{self.shown(file)}: cannot be read in parts, its server sends the whole file; download it, and give its path")
            if len(pieces[k]) != stop - start - beyond:
                raise DataError(f"{self.shown(file)}: has {self._size(file)} bytes where {file.size} were pinned; run again to pin the data anew")
        return [pieces[low] if high == low + 1 else b"".join(pieces[low:high]) for low, high in pairwise(edges)]

    def _pread(self, one: tuple[File, int, int]) -> bytes:
        file, start, stop = one
        try:
            with open(self._path(file), "rb", buffering=0) as opened:
                buffer, filled = bytearray(stop - start), 0
                while filled < len(buffer) and (got := os.preadv(opened.fileno(), [memoryview(buffer)[filled:]], start + filled)):
                    filled += got
                return bytes(memoryview(buffer)[:filled])
        except (FileNotFoundError, IsADirectoryError) as error:
            raise self._gone(file) from error

    def _cat(self, asked: Sequence[tuple[File, int, int]]) -> list[bytes]:
        paths, starts, stops = [self._path(file) for file, _, _ in asked], [start for _, start, _ in asked], [stop for _, _, stop in asked]
        pieces = self.filesystem.cat_ranges(paths, starts, stops, on_error="return") if asked else []
        for (file, _, stop), piece in zip(asked, pieces, strict=True):
            if isinstance(piece, FileNotFoundError | IsADirectoryError):
                raise self._gone(file) from piece
            with found(self.shown(file), stop):
                if isinstance(piece, BaseException):
                    raise piece
        return pieces

    def shown(self, file: File) -> str:
        """The file's address for messages."""
        return shown(f"{self.url.rstrip('/')}/{file.name}" if file.name else self.url)

    def _path(self, file: File) -> str:
        path = f"{self.root}/{file.name}" if file.name else self.root
        if file.name and self.local_disk:
            top, real = os.path.realpath(self.root), os.path.realpath(path)
            if os.path.commonpath([top, real]) != top:
                raise DataError(f"{self.shown(file)}: is a link that leaves {shown(self.url)}; put the file itself there")
        return path

    def _size(self, file: File) -> int:
        return int(self.filesystem.info(self._path(file))["size"])

    def _gone(self, file: File) -> DataError:
        return DataError(f"{self.shown(file)}: is not there any more; run again to pin the data anew")

    def _unlike(self, file: File) -> DataError:
        return DataError(f"{self.shown(file)}: its content is not what was pinned; run again to pin the data anew")


def identity(reader: Dataset, files: Iterable[File]) -> str:
    """The content identity of what a reader yields: its kind, revision and options, and the files; never the address."""
    options = {f.name: getattr(reader, f.name) for f in dataclasses.fields(reader) if f.name not in ("url", "pinned", "bad")}  # type: ignore[arg-type]
    kind = [type(reader).__name__, getattr(reader, "__revision__", 1)]
    return combined(kind, options, [[file.name, file.size, file.digest] for file in files])


def _batches(files: Iterable[File], many: int) -> Iterator[list[File]]:
    """Files that follow each other: at most `many`, and no more than a chunk of bytes but for one larger file."""
    batch: list[File] = []
    room = CHUNK
    for file in files:
        if batch and (len(batch) == many or file.size > room):
            yield batch
            batch, room = [], CHUNK
        batch.append(file)
        room -= file.size
    if batch:
        yield batch


def _listed(url: str, filesystem: Any, root: str, begin: str | None) -> list[File]:
    filesystem.invalidate_cache()
    few: dict[str, Any] = {} if begin is None else {"prefix": begin} if begin and "s3" in filesystem.protocol else {"maxdepth": 1}
    web = "http" in filesystem.protocol  # which has no folders
    found = {root: filesystem.info(root)} if web else filesystem.find(root, detail=True, **few)
    names = {path: path[len(root) :].lstrip("/") for path in found}
    if begin is not None:
        found = {path: facts for path, facts in found.items() if names[path].startswith(begin) and "/" not in names[path]}
    elif not found:
        raise ValueError(f"{shown(url)}: no such file or folder, or it is empty; check the path")
    for path, facts in found.items():
        if facts.get("islink") and os.path.isdir(path) and not hidden(names[path]):
            raise DataError(f"{shown(url)}: {names[path]} is a link to a folder; put the folder itself there")
    return [File(names[path], int(facts["size"] or 0), "") for path, facts in found.items()]
