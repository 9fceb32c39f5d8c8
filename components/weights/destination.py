"""Where bytes go: nothing of a file can be found under its name before it is complete."""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from components.types import File
from components.weights import files
from components.weights.files import CHUNK, Bytes, Digest


class Destination(Protocol):
    """A file about to be. It can be pickled, so that several processes write their parts of it."""

    parallel: bool  # parts of CHUNK bytes may be put in any order, from any thread or node
    remote: bool  # it is best given CHUNK bytes at once

    def begin(self, size: int) -> None:
        """Make room, where that is possible: a full disk is found before the work."""

    def put(self, start: int, content: Bytes) -> Any:
        """Write bytes at their place; what it returns is given to `commit`."""

    def commit(self, receipts: list[Any] | None = None) -> None:
        """Make the file visible, complete and on disk. receipts: of its parts, in order."""

    def abandon(self) -> None:
        """Leave nothing behind."""


def destination(url: str, unless: str = "") -> Destination:
    """The file at `url`.

    unless: a file in the same store beside which it is never completed, where the store can tell. It is then put in pieces of CHUNK
    bytes, the last one excepted.
    """
    path = files.local(url)
    if path is not None:
        return Local(path)
    filesystem, _ = files.remote(url)
    return Multipart(url, unless) if unless and hasattr(filesystem, "call_s3") else Stream(url)


def write(folder: str, name: str, chunks: Iterable[Bytes], unless: str = "") -> File:
    """Stream `chunks` into `folder`/`name` and return its size and digest. If a chunk fails, nothing of the file is left to be found."""
    target, total, receipts = destination(files.join(folder, name), unless), Digest(), []
    try:
        target.begin(0)
        for chunk in chunks:
            receipts.append(target.put(total.size, chunk))
            total.update(chunk)
        target.commit(receipts)
    except BaseException:
        target.abandon()
        raise
    return File(name, total.size, total.hexdigest())


_opening = threading.Lock()  # threads open a file once


class Local:
    """A file on a disk, written under a hidden name beside its own, which is made once: who gets a begun one by pickle only opens it."""

    parallel, remote = True, False

    def __init__(self, path: str) -> None:
        self._file, self._begun = -1, False
        folder, name = os.path.split(path)
        self.path, self.hidden = path, os.path.join(folder, f".{name}.{uuid.uuid4().hex[:8]}.partial")
        os.makedirs(folder or ".", exist_ok=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": -1}

    def _open(self) -> int:
        with _opening:
            if self._file < 0:
                try:
                    self._file = os.open(self.hidden, os.O_WRONLY | os.O_CLOEXEC | (0 if self._begun else os.O_CREAT | os.O_EXCL), 0o666)
                except FileNotFoundError as error:  # made anew it would have holes where others have written
                    remedy = "save to a folder that all nodes share, or to a URL"
                    raise OSError(f"{self.path} was begun on a disk that is not to be seen here, or given up: {remedy}") from error
                self._begun = True
            return self._file

    def begin(self, size: int) -> None:
        file = self._open()
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)

    def put(self, start: int, content: Bytes) -> None:
        file, rest = self._open(), memoryview(content).cast("B")
        while rest:
            written = os.pwrite(file, rest, start)
            start, rest = start + written, rest[written:]

    def commit(self, receipts: list[Any] | None = None) -> None:
        os.fsync(self._open())  # the record that says "done" must not reach the disk before the payload
        self._close()
        os.replace(self.hidden, self.path)
        folder = os.open(os.path.dirname(self.path) or ".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # nor a configuration before the weights that it names
        finally:
            os.close(folder)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    __del__ = _close

    def abandon(self) -> None:
        self._close()
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.hidden)


class Stream:
    """A file on any file system, written from its first byte to its last."""

    parallel, remote = False, True

    def __init__(self, url: str) -> None:
        self.url = url
        self.filesystem, self.path = files.remote(url)
        with _written(url):
            self._file = self.filesystem.open(self.path, "wb")

    def begin(self, size: int) -> None:
        """Nothing can be reserved."""

    def put(self, start: int, content: Bytes) -> None:
        with _written(self.url):
            self._file.write(content)

    def commit(self, receipts: list[Any] | None = None) -> None:
        with _written(self.url):
            self._file.close()

    def abandon(self) -> None:
        """Merely closing a remote file would publish what there is of it."""
        from fsspec.spec import AbstractBufferedFile

        if isinstance(self._file, AbstractBufferedFile):
            self._file.discard()
            self._file.closed = True
            return
        self._file.close()
        self.filesystem.rm_file(self.path)


class Multipart:
    """An object on S3, uploaded in parts as they are ready, in one where it is small; it exists once all of them are named in order.

    It takes the place of nothing that came while it was made, and is not completed where `unless` exists by then: ValueError. Where the answer
    that it is complete was lost, its ETag says so. Every part carries a checksum (botocore's CRC-32), with which the store refuses what was
    damaged on the way to it; what it damages or loses afterwards is found by reading back alone.
    """

    parallel, remote = True, True

    def __init__(self, url: str, unless: str) -> None:
        self.url, self.unless, self.upload = url, unless, ""
        self.match: dict[str, str] = {}
        _, path = files.remote(url)
        self.bucket, _, self.key = path.partition("/")

    def _call(self, method: str, **arguments: Any) -> Any:
        filesystem, _ = files.remote(self.url)
        with _written(self.url):
            return filesystem.call_s3(method, Bucket=self.bucket, Key=self.key, **arguments)

    def begin(self, size: int) -> None:
        if -(-size // CHUNK) > 10_000:
            raise ValueError(f"{self.url} would have {size} bytes, more than an upload of 10,000 parts holds; write it to a disk")
        self._refuse()
        try:
            with files.reached(self.url):
                self.match = {"IfMatch": files.remote(self.url)[0].info(f"{self.bucket}/{self.key}")["ETag"]}  # what a dead command left
        except FileNotFoundError:
            self.match = {"IfNoneMatch": "*"}
        if size > CHUNK:
            self.upload = self._call("create_multipart_upload")["UploadId"]

    def _refuse(self) -> None:
        if files.size(self.unless) is not None:
            raise ValueError(f"{self.unless} exists already, and is left as it is; choose another folder")

    def put(self, start: int, content: Bytes) -> Any:
        if not self.upload:
            return bytes(content)
        return self._call("upload_part", UploadId=self.upload, PartNumber=start // CHUNK + 1, Body=bytes(content))["ETag"]

    def commit(self, receipts: list[Any] | None = None) -> None:
        self._refuse()
        try:
            if self.upload:
                parts = [{"PartNumber": i + 1, "ETag": tag} for i, tag in enumerate(receipts or [])]
                self._call("complete_multipart_upload", UploadId=self.upload, MultipartUpload={"Parts": parts}, **self.match)
            else:
                self._call("put_object", Body=b"".join(receipts or []), **self.match)
        except OSError as error:
            if files.code_of(error) in ("PreconditionFailed", "412", "ConditionalRequestConflict", "409"):
                raise ValueError(f"{self.url} was written by another command meanwhile, and is left as it is; choose another folder") from error
            raise

    def abandon(self) -> None:
        if self.upload:
            self._call("abort_multipart_upload", UploadId=self.upload)


@contextlib.contextmanager
def _written(url: str) -> Iterator[None]:
    """Errors of a store to which a file is written, in one line."""
    try:
        with files.reached(url):
            yield
    except FileNotFoundError as error:
        raise OSError(f"{url}: cannot be written ({error}); make the bucket first, or choose another") from error
