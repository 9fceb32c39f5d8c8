"""Bytes at URLs: range reads into a caller's buffer, and writes that are hashed while they stream."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

from components.types import DataError
from components.weights.threads import cores, ordered

CHUNK = 1 << 24
MARK = 1 << 20  # bytes of a remote file for which one crc32 is kept
CLIENTS = ("aiobotocore", "aiohttp", "asyncio", "botocore", "fsspec", "s3fs", "urllib3")  # whose errors are about the way to a store
Bytes = bytes | bytearray | memoryview


class Digest:
    """The sha256 of the sha256s of a file's 16 MiB chunks: `types.File.digest`, whatever the sizes in which the bytes arrive."""

    def __init__(self) -> None:
        self.size = 0
        self._outer, self._inner = hashlib.sha256(), hashlib.sha256()

    def update(self, content: Bytes) -> None:
        """Append bytes."""
        rest = memoryview(content).cast("B")
        while rest:
            room = CHUNK - self.size % CHUNK
            self._inner.update(rest[:room])
            self.size += min(room, len(rest))
            rest = rest[room:]
            if self.size % CHUNK == 0:
                self._outer.update(self._inner.digest())
                self._inner = hashlib.sha256()

    def hexdigest(self) -> str:
        """The digest of everything so far."""
        outer = self._outer.copy()
        if self.size % CHUNK or not self.size:
            outer.update(self._inner.digest())
        return outer.hexdigest()


def digest(content: Iterable[Bytes] | Bytes) -> str:
    """The chunked digest of some bytes, whole or streamed."""
    total = Digest()
    for piece in [content] if isinstance(content, Bytes) else content:
        total.update(piece)
    return total.hexdigest()


def join(folder: str, name: str) -> str:
    """The URL of a file in a folder."""
    return f"{folder.rstrip('/')}/{name}"


@lru_cache(maxsize=64)
def _filesystem(root: str, process: int) -> Any:
    import fsspec

    return fsspec.core.url_to_fs(root, **({} if "::" in root else {"use_listings_cache": False}))[0]


def local(url: str) -> str | None:
    """The path on a local disk, or None where the URL is remote."""
    if "://" not in url and "::" not in url:
        return url
    return url.removeprefix("file://") if url.startswith("file://") else None


def remote(url: str) -> tuple[Any, str]:
    """The file system of a remote URL, and the path there."""
    scheme, _, rest = url.partition("://")
    filesystem = _filesystem(url if "::" in url else f"{scheme}://{rest.partition('/')[0]}", os.getpid())
    return filesystem, filesystem._strip_protocol(url)


def place(url: str) -> str:
    """One spelling for all URLs of a folder on a local disk, whatever links lead there; a remote URL without a slash at its end."""
    here = local(url)
    return url.rstrip("/") if here is None else os.path.realpath(here)


def size(url: str) -> int | None:
    """The size in bytes of a file, or None where there is no such file."""
    here = local(url)
    if here is not None:
        return os.path.getsize(here) if os.path.isfile(here) else None
    filesystem, path = remote(url)
    try:
        with reached(url):
            if hasattr(filesystem, "call_s3"):  # one HEAD; s3fs's `info` would go on to list what is not there
                bucket, name, _ = filesystem.split_path(path)
                return int(filesystem.call_s3("head_object", Bucket=bucket, Key=name)["ContentLength"])
            found = filesystem.info(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if found["type"] == "file" and found["size"] is None:
        raise OSError(f"{url}: its server does not say how long it is; fetch it to a disk first")
    return int(found["size"]) if found["type"] == "file" else None


@contextlib.contextmanager
def reached(url: str) -> Iterator[None]:
    """What a client says in its own words becomes an OSError of one line; absence, and an error that knows its exit code, are told already."""
    try:
        yield
    except Exception as error:
        if isinstance(error, FileNotFoundError) or hasattr(error, "exit_code"):
            raise
        told = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, PermissionError) or "credentials" in told.lower():
            raise PermissionError(f"{url}: access was refused ({told}); check the credentials, and what they allow") from error
        if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in CLIENTS:
            raise OSError(f"{url}: the store failed ({told}); check its address and the network, then run the same command again") from error
        raise


@contextlib.contextmanager
def found(url: str, stop: int) -> Iterator[None]:
    """As `reached`, where a file was found before, up to byte `stop` at least: a DataError where it is gone, or shorter."""
    try:
        with reached(url):
            yield
    except FileNotFoundError as error:
        raise DataError(f"{url} was there and is gone; fetch or save it again") from error
    except OSError as error:
        if code_of(error) in ("416", "InvalidRange"):
            raise DataError(f"{url} is truncated: expected {stop} bytes or more, and it has become shorter; fetch it again") from error
        raise


def code_of(error: BaseException | None) -> str:
    """What S3 calls an error, or "" where it is none of S3's."""
    while error is not None:
        if response := getattr(error, "response", None):
            return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
        error = error.__cause__
    return ""


class Opened:
    """A file open for range reads, from any number of threads at once."""

    def __init__(self, url: str) -> None:
        self._file, self.url, self._local = -1, url, local(url)
        self._file = os.open(self._local, os.O_RDONLY | os.O_CLOEXEC) if self._local is not None else -1

    def read(self, start: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes that begin at `start`; a file that ends before is a DataError."""
        filled = 0
        if self._file >= 0:
            while filled < len(buffer) and (got := os.preadv(self._file, [buffer[filled:]], start + filled)):
                filled += got
        elif len(buffer):
            filesystem, path = remote(self.url)
            with found(self.url, start + len(buffer)):
                content = filesystem.cat_file(path, start=start, end=start + len(buffer))
            filled = len(content)
            buffer[: min(filled, len(buffer))] = content[: len(buffer)]
        came(self.url, start, start + len(buffer), filled)

    def close(self) -> None:
        """No more reads. A file that nobody holds any more closes itself."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    __del__ = close


def came(url: str, start: int, stop: int, found: int) -> None:
    """DataError where fewer than the bytes [start, stop) came, ValueError where more did: a server that knows no ranges sends everything."""
    if found < stop - start:
        raise DataError(f"{url} is truncated: expected {stop} bytes or more, found {start + found}; fetch it again")
    if found > stop - start:
        raise ValueError(f"{url} cannot be read in parts, its server sends the whole file; download it, and give its path")


def read(url: str, start: int, buffer: memoryview) -> None:
    """Fill `buffer` with the bytes that begin at `start`; a file that ends before is a DataError."""
    with contextlib.closing(Opened(url)) as file:
        file.read(start, buffer)


def pieces(url: str, step: int = CHUNK) -> Iterator[memoryview]:
    """A file's bytes in pieces of at most `step`; each is valid until the next is asked for."""
    total = size(url)
    if total is None:
        raise FileNotFoundError(f"{url} does not exist")
    buffer = memoryview(bytearray(min(step, total)))
    for start in range(0, total, step):
        piece = buffer[: min(step, total - start)]
        read(url, start, piece)
        yield piece


def digest_of(url: str) -> str:
    """A file's chunked digest, read by all cores."""
    return digest_and_crc32s(url)[0]


def digest_and_crc32s(url: str) -> tuple[str, list[int]]:
    """A file's chunked digest, read by all cores, and what `ranges` keeps of a remote one."""
    total = size(url)
    if total is None:
        raise FileNotFoundError(f"{url} does not exist")
    far = local(url) is None
    with contextlib.closing(Opened(url)) as file:

        def make() -> Callable[[int], tuple[bytes, list[int]]]:
            buffer = memoryview(bytearray(min(CHUNK, total, CHUNK if far else 1 << 20)))

            def chunk(start: int) -> tuple[bytes, list[int]]:
                inner, stop, crcs = hashlib.sha256(), min(start + CHUNK, total), list[int]()
                for at in range(start, stop, len(buffer)):
                    piece = buffer[: min(len(buffer), stop - at)]
                    file.read(at, piece)
                    inner.update(piece)
                    crcs += crc32s(piece) if far else ()
                return inner.digest(), crcs

            return chunk

        chunks = list(ordered(make, range(0, total, CHUNK), cores()))
    return joined(inner for inner, _ in chunks), [crc for _, crcs in chunks for crc in crcs]


def crc32s(content: memoryview) -> list[int]:
    """The crc32 of each MARK bytes."""
    return [zlib.crc32(content[at : at + MARK]) for at in range(0, len(content), MARK)]


def joined(chunks: Iterable[bytes]) -> str:
    """The digest of a file whose chunks have these."""
    outer = hashlib.sha256()
    for each in list(chunks) or [hashlib.sha256().digest()]:
        outer.update(each)
    return outer.hexdigest()


def signature(url: str) -> tuple[int, ...]:
    """What changes when a local file is written again: inode, size and time."""
    here = local(url)
    if here is None:
        return ()
    state = os.stat(here)
    return (state.st_ino, state.st_size, state.st_mtime_ns)


def content(url: str) -> bytes | None:
    """A small file's bytes, or None where there is no such file."""
    here = local(url)
    try:
        if here is not None:
            with open(here, "rb") as file:
                return file.read()
        filesystem, path = remote(url)
        with reached(url):
            return bytes(filesystem.cat_file(path))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def document(url: str) -> dict[str, Any] | None:
    """A JSON object, or None where there is no such file; anything else in the file is a DataError."""
    raw = content(url)
    if raw is None:
        return None
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{url} is not JSON ({error}); fetch or write it again") from error
    if not isinstance(value, dict):
        raise DataError(f"{url} holds a {type(value).__name__} where a JSON object belongs; fetch or write it again")
    return value
