"""A folder at a URL, with the operations that the store needs; exclusive creation is atomic on local disks and by conditional PUT on S3.

On S3 each operation is tried again by the client itself (`infra.store.s3`), and its errors come as finished lines.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import fsspec

from infra.errors import Away, Refused, StoreError
from infra.secrets import refuse
from infra.store.answer import code_of

AT_ONCE = 32  # requests to a remote store
MOST = 1000  # objects that one request may remove: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
VERSIONED = "the bucket keeps versions: their bytes stay until a lifecycle rule removes them"
NEARLY = re.compile(r"[A-Za-z][A-Za-z0-9+]+:/(?!/)|[A-Za-z0-9+]*[A-Z][A-Za-z0-9+]*://|s3a?://(/|$)|s3a?//")  # s3:/b, S3://b, s3://, s3:///b, s3//b

T = TypeVar("T")
R = TypeVar("R")


class Found(NamedTuple):
    """A file that a listing named: its name below the listed folder, its bytes, and when it was written (seconds since 1970, the store's clock)."""

    name: str
    size: int
    changed: float


def is_local(url: str) -> bool:
    return "://" not in url or url.startswith("file://")


def absolute(url: str) -> str:
    """A URL that means the same in every process: local paths without scheme and absolute, others without a trailing slash.

    ValueError for what is nearly a URL, and would else be a folder `s3:` here.
    """
    if NEARLY.match(url):
        raise ValueError(f"{url}: is neither a path nor a URL; write it like s3://bucket/folder")
    if is_local(url):
        return os.path.abspath(os.path.expanduser(url.removeprefix("file://")))
    return url.rstrip("/")


def filesystem(url: str) -> Any:
    """The client for a remote URL: one for all threads of this process."""
    scheme, _, rest = refuse(url).partition("://")
    return _filesystem(f"{scheme}://{rest.partition('/')[0]}", os.getpid())


@lru_cache(maxsize=64)
def _filesystem(root: str, process: int) -> Any:
    scheme = root.partition("://")[0]
    try:
        fsspec.get_filesystem_class(scheme)
    except ValueError:
        raise ValueError(f"{root}: nothing here knows {scheme}://; give a folder, or a URL like s3://bucket/folder") from None
    return fsspec.core.url_to_fs(root, use_listings_cache=False)[0]


class Place:
    """The folder at `url`; names are relative, with forward slashes."""

    def __init__(self, url: str) -> None:
        self.url = absolute(url)
        self.local = is_local(url)
        if not self.local:
            filesystem(self.url)

    @property
    def _fs(self) -> Any:
        return filesystem(self.url)

    @property
    def s3(self) -> bool:
        return not self.local and hasattr(self._fs, "pages")

    def at(self, name: str) -> str:
        return f"{self.url}/{name}" if name else self.url

    def read(self, name: str) -> bytes | None:
        """The bytes, or None where there is nothing; never trusts a listing."""
        with self._told(name, "read"):
            try:
                if self.local:
                    return Path(self.at(name)).read_bytes()
                found: bytes = self._fs.cat_file(self.at(name))
                return found
            except (FileNotFoundError, NotADirectoryError):
                return None

    def read_many(self, names: Iterable[str]) -> dict[str, bytes | None]:
        """As `read`, of many small files at once, in the order of their names."""
        wanted = list(dict.fromkeys(names))
        return dict(zip(wanted, self.each(self.read, wanted), strict=True))

    def each(self, fn: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """`fn` of every item, in their order; side by side where each is a request over the network."""
        if self.local or len(items) < 2:
            return [fn(item) for item in items]
        with ThreadPoolExecutor(min(AT_ONCE, len(items)), "place") as pool:
            return list(pool.map(fn, items))

    def create(self, name: str, data: bytes, *, durable: bool = True) -> bool:
        """Create exclusively, durably unless told otherwise; False where the name is taken by other bytes, on a disk by any.

        Half a file is never visible. On S3 the answer to a write of ours may have been lost: what holds our own bytes counts as created, so that
        data should name its writer.
        """
        with self._told(name, "written"):
            return self._link(name, data, durable) if self.local else self._put(name, data)

    def write(self, name: str, data: bytes) -> None:
        """Create or replace, atomically."""
        with self._told(name, "written"):
            if not self.local:
                self._fs.pipe_file(self.at(name), data)
                return
            with self._temporary(name, data, durable=False) as (temporary, target):
                os.replace(temporary, target)

    def names(self, folder: str = "") -> list[str]:
        """Names directly below a folder, sorted; folders included. Such a listing may be behind: nothing correct may depend on it."""
        with self._told(folder, "listed"):
            try:
                if self.local:
                    return sorted(os.listdir(os.path.join(self.url, folder)))
                if not self.s3:
                    return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in self._fs.ls(self.at(folder), detail=False, refresh=True))
                _, prefix, _ = self._fs.split_path(f"{self.at(folder)}/")
                pages = self._fs.pages(f"{self.at(folder)}/", "/")
                below = (one.get("Prefix") or one["Key"] for page in pages for one in (*page.get("CommonPrefixes", ()), *page.get("Contents", ())))
                return sorted({path[len(prefix) :].rstrip("/") for path in below} - {""})  # some clients leave an object for the folder itself
            except (FileNotFoundError, NotADirectoryError):
                return []

    def find(self, folder: str = "") -> Iterator[Found]:
        """All files below a folder, named relative to it: a page of the store's listing at a time, in the order of their names on S3."""
        with self._told(folder, "listed"):
            if self.local:
                yield from self._walk(folder)
            elif self.s3:
                yield from self._listed(folder)
            else:
                root = self._fs._strip_protocol(self.at(folder))
                for path, one in self._fs.find(self.at(folder), detail=True).items():
                    yield Found(path[len(root) :].lstrip("/"), int(one["size"]), changed(one))

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name: on S3 one HEAD, which a listing has no part in."""
        return os.path.exists(self.at(name)) if self.local else self.size(name) is not None

    def size(self, name: str) -> int | None:
        """Bytes of a file, or None where there is none: on S3 one HEAD."""
        with self._told(name, "read"):
            try:
                if self.local:
                    return os.path.getsize(self.at(name))
                if not self.s3:
                    return int(self._fs.info(self.at(name))["size"])
                bucket, key, _ = self._fs.split_path(self.at(name))
                return int(self._fs.call_s3("head_object", Bucket=bucket, Key=key)["ContentLength"])
            except (FileNotFoundError, NotADirectoryError):
                return None

    def remove(self, name: str) -> bool:
        """Remove a file or a folder with all below; nothing happens where there is none.

        False where the bucket keeps former versions, and so their bytes; raises Refused where the store does not let go of something.
        """
        with self._told(name, "removed"), contextlib.suppress(FileNotFoundError):
            if self.local and os.path.isfile(self.at(name)):
                os.unlink(self.at(name))
            elif not self.s3:
                (fsspec.filesystem("file") if self.local else self._fs).rm(self.at(name), recursive=True)
            else:
                below, kept = (f"{name}/{one.name}" for one in self._listed(name)), self.discard([name])
                while names := list(itertools.islice(below, MOST)):
                    kept |= self.discard(names)
                if locked := [f"{one} ({reason})" for one, reason in kept.items() if reason != VERSIONED]:
                    raise Refused(f"{self.at(name)}: the store keeps {len(locked)} of its objects, first {locked[0]}; lift what locks them")
                return not kept
        return True

    def discard(self, names: Sequence[str]) -> dict[str, str]:
        """Remove files, many with one request on S3: {name: what keeps it, or its bytes}. What is gone already is gone."""
        kept: dict[str, str] = {}
        for start in range(0, len(names), MOST) if self.s3 else ():
            at = {self._fs.split_path(self.at(name))[:2]: name for name in names[start : start + MOST]}
            bucket = next(iter(at))[0]
            answer = self._fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": [{"Key": key} for _, key in at]})
            kept |= {at[bucket, one["Key"]]: VERSIONED for one in answer.get("Deleted", ()) if one.get("DeleteMarker")}
            kept |= {at[bucket, one["Key"]]: one.get("Message") or one.get("Code", "no reason given") for one in answer.get("Errors", ())}
        for name in names if not self.s3 else ():
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.at(name)) if self.local else self._fs.rm_file(self.at(name))
            except OSError as error:
                kept[name] = error.strerror or str(error)
        return kept

    def _listed(self, folder: str) -> Iterator[Found]:
        _, root, _ = self._fs.split_path(f"{self.at(folder)}/")
        for page in self._fs.pages(f"{self.at(folder)}/"):
            for one in page.get("Contents", ()):
                yield Found(one["Key"][len(root) :], one["Size"], one["LastModified"].timestamp())

    def _walk(self, folder: str) -> Iterator[Found]:
        waiting = [""]
        while waiting:
            below = waiting.pop()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(os.path.join(self.at(folder), below)) as entries:
                for entry in entries:
                    name = f"{below}/{entry.name}" if below else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(name)
                        continue
                    with contextlib.suppress(FileNotFoundError):  # a temporary file of another process
                        state = entry.stat()
                        yield Found(name, state.st_size, state.st_mtime)

    @contextlib.contextmanager
    def _told(self, name: str, done: str) -> Iterator[None]:
        """Errors of a place as one line, where they are not yet."""
        try:
            yield
        except StoreError:
            raise
        except OSError as error:
            remedy = {"written": "free space, or choose another --store", "removed": "check its permissions"}.get(done, "check that it is there")
            raise (StoreError if self.local else Away)(f"{self.at(name)}: cannot be {done}: {error.strerror or error}; {remedy}") from error

    def _put(self, name: str, data: bytes) -> bool:
        try:
            self._fs.pipe_file(self.at(name), data, mode="create")
        except OSError as error:
            if isinstance(error, FileExistsError) or code_of(error) in ("412", "PreconditionFailed"):
                return False
            raise
        return True

    def _link(self, name: str, data: bytes, durable: bool) -> bool:
        with self._temporary(name, data, durable=durable) as (temporary, target):
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
            if durable:
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


def changed(one: dict[str, Any]) -> float:
    """When a file was written, as fsspec's listings tell it in as many ways as there are file systems."""
    when = next((one[key] for key in ("mtime", "LastModified", "last_modified", "created") if one.get(key) is not None), 0.0)
    return float(when if isinstance(when, int | float) else when.timestamp())
