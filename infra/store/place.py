"""A folder at a URL, with the five operations that the store needs; exclusive creation is atomic on local disks and by conditional PUT on S3."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec

from infra.errors import StoreError


def is_local(url: str) -> bool:
    return "://" not in url or url.startswith("file://")


def absolute(url: str) -> str:
    """A URL that means the same in every process: local paths without scheme and absolute, others without a trailing slash."""
    if is_local(url):
        return os.path.abspath(os.path.expanduser(url.removeprefix("file://")))
    return url.rstrip("/")


class Place:
    """The folder at `url`; names are relative, with forward slashes."""

    def __init__(self, url: str) -> None:
        self.url = absolute(url)
        self.local = is_local(url)
        self._fs: Any = None if self.local else fsspec.core.url_to_fs(self.url, use_listings_cache=False)[0]

    def at(self, name: str) -> str:
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes | None:
        """The bytes, or None where there is nothing; never trusts a listing."""
        try:
            if self.local:
                return Path(self.at(name)).read_bytes()
            found: bytes = self._fs.cat_file(self.at(name))
            return found
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{self.at(name)}: cannot be read: {error}") from error

    def create(self, name: str, data: bytes) -> bool:
        """Create exclusively and durably; False where the name is taken. Half a file is never visible."""
        try:
            return self._link(name, data) if self.local else self._put(name, data)
        except OSError as error:
            raise StoreError(f"{self.at(name)}: cannot be written: {error.strerror or error}; free space or choose another --store") from error

    def write(self, name: str, data: bytes) -> None:
        """Create or replace, atomically."""
        try:
            if not self.local:
                self._fs.pipe_file(self.at(name), data)
                return
            with self._temporary(name, data, durable=False) as (temporary, target):
                os.replace(temporary, target)
        except OSError as error:
            raise StoreError(f"{self.at(name)}: cannot be written: {error.strerror or error}") from error

    def names(self, folder: str = "") -> list[str]:
        """Names directly below a folder, sorted; folders included."""
        try:
            if self.local:
                return sorted(os.listdir(os.path.join(self.url, folder)))
            return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(self.at(folder), detail=False, refresh=True))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def find(self, folder: str = "") -> Iterator[tuple[str, int, float]]:
        """(name below the folder, size, when it changed) of all files at any depth."""
        where = self.at(folder) if folder else self.url
        fs = self._fs or fsspec.filesystem("file")
        root = str(fs._strip_protocol(where)).rstrip("/") + "/"
        for path, facts in sorted(fs.find(where, detail=True).items()):
            yield path.removeprefix(root), facts["size"], facts["LastModified"].timestamp() if "LastModified" in facts else facts.get("mtime", 0.0)

    def read_many(self, names: Sequence[str]) -> dict[str, bytes | None]:
        """What `read` gives for each."""
        return {name: self.read(name) for name in names}

    def exists(self, name: str) -> bool:
        return os.path.exists(self.at(name)) if self.local else bool(self._fs.exists(self.at(name)))

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all below; nothing happens where there is none."""
        with contextlib.suppress(FileNotFoundError):
            if self.local and os.path.isfile(self.at(name)):
                os.unlink(self.at(name))
            else:
                (self._fs or fsspec.filesystem("file")).rm(self.at(name), recursive=True)

    def _put(self, name: str, data: bytes) -> bool:
        try:
            self._fs.pipe_file(self.at(name), data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno == errno.EINVAL and "pre-condition" in str(error):  # how s3fs says 412
                return False
            raise
        return True

    def _link(self, name: str, data: bytes) -> bool:
        with self._temporary(name, data, durable=True) as (temporary, target):
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
            folder = os.open(os.path.dirname(target), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            return True

    @contextlib.contextmanager
    def _temporary(self, name: str, data: bytes, *, durable: bool) -> Iterator[tuple[str, str]]:
        target = self.at(name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = os.path.join(os.path.dirname(target), f".{uuid.uuid4().hex}")
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            yield temporary, target
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
