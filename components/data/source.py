"""A source at a URL: its files, pinned or listed, each verified by size and digest when it is read."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from components.data.examples import combined
from components.data.names import hidden, safe, shown
from components.types import DataError, Dataset, File, Run
from components.weights.files import Digest

PIECE = 1 << 22
READERS = 8


@dataclass(frozen=True, eq=False)
class Source:
    """The files at or below a URL, by name; the name "" is the URL itself. `files` of a listed source have no digest until `select`."""

    url: str
    root: str
    filesystem: Any
    files: tuple[File, ...]
    scratch: str

    @classmethod
    def open(cls, url: str, pinned: str, run: Run) -> Source:
        """From the pinned manifest, or a listing where nothing is pinned; ValueError where there is nothing."""
        import fsspec

        if not url:
            raise ValueError("the source has no url; give a folder or a file")
        filesystem, root = fsspec.core.url_to_fs(url)
        root = root.rstrip("/")
        files = run.manifest(pinned) if pinned else _listed(url, filesystem, root)
        named = (dataclasses.replace(file, name=safe(file.name, shown(url)) if file.name else "") for file in files)
        kept = sorted((file for file in named if not hidden(file.name)), key=lambda file: file.name)
        return cls(url, root, filesystem, tuple(kept), run.dir)

    def select(self, keep: Callable[[str], bool]) -> tuple[File, ...]:
        """The files whose name passes, with their digests; a single file that was named itself always passes."""
        chosen = [file for file in self.files if not file.name or keep(file.name)]
        with ThreadPoolExecutor(READERS) as pool:
            digests = pool.map(lambda file: file.digest or self._digest(file), chosen)
            return tuple(dataclasses.replace(file, digest=digest) for file, digest in zip(chosen, digests, strict=True))

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
        digest, pieces = Digest(), []
        for piece in self._pieces(file):
            digest.update(piece)
            pieces.append(piece)
        self._verify(file, digest)
        return b"".join(pieces)

    @contextlib.contextmanager
    def local(self, file: File) -> Iterator[str]:
        """A verified path on this machine: the file itself, or a copy in the scratch folder for as long as the context lasts."""
        digest = Digest()
        if self.local_disk:
            for piece in self._pieces(file):
                digest.update(piece)
            self._verify(file, digest)
            yield self._path(file)
            return
        os.makedirs(self.scratch, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.scratch) as copy:
            for piece in self._pieces(file):
                digest.update(piece)
                copy.write(piece)
            copy.flush()
            self._verify(file, digest)
            yield copy.name

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

    def _pieces(self, file: File) -> Iterator[bytes]:
        try:
            with self.filesystem.open(self._path(file), "rb", **({} if self.local_disk else {"block_size": PIECE})) as stream:
                while piece := stream.read(PIECE):
                    yield piece
        except (FileNotFoundError, IsADirectoryError) as error:
            raise DataError(f"{self.shown(file)}: is not there any more; run again to pin the data anew") from error

    def _digest(self, file: File) -> str:
        digest = Digest()
        for piece in self._pieces(file):
            digest.update(piece)
        return digest.hexdigest()

    def _verify(self, file: File, digest: Digest) -> None:
        if digest.size != file.size:
            raise DataError(f"{self.shown(file)}: has {digest.size} bytes where {file.size} were pinned; run again to pin the data anew")
        if digest.hexdigest() != file.digest:
            raise DataError(f"{self.shown(file)}: its content is not what was pinned; run again to pin the data anew")


def identity(reader: Dataset, files: Iterable[File]) -> str:
    """The content identity of what a reader yields: its kind, revision and options, and the files; never the address."""
    options = {f.name: getattr(reader, f.name) for f in dataclasses.fields(reader) if f.name not in ("url", "pinned", "bad")}  # type: ignore[arg-type]
    kind = [type(reader).__name__, getattr(reader, "__revision__", 1)]
    return combined(kind, options, [[file.name, file.size, file.digest] for file in files])


def _listed(url: str, filesystem: Any, root: str) -> list[File]:
    filesystem.invalidate_cache()
    found = filesystem.find(root, detail=True)
    if not found:
        raise ValueError(f"{shown(url)}: no such file or folder, or it is empty; check the path")
    names = {path: path[len(root) :].lstrip("/") for path in found}
    for path, facts in found.items():
        if facts.get("islink") and os.path.isdir(path) and not hidden(names[path]):
            raise DataError(f"{shown(url)}: {names[path]} is a link to a folder; put the folder itself there")
    return [File(names[path], int(facts["size"] or 0), "") for path, facts in found.items()]
