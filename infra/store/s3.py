"""The one S3 client of a process: s3fs, with one loop that tries again whatever another try may mend.

s3fs and botocore retry each in their own way, neither by time, and neither when a body is cut (s3fs #1035) or when the answer to a conditional
write is lost. Here both are off. A request is tried again with jittered, growing pauses until it succeeds or `patience` seconds have passed
since it first failed; a body counts as part of its request. What a try cannot mend is raised at once, as a finished line.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import re
import time
from collections.abc import Iterator
from typing import Any, ClassVar

from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from infra.secrets import refuse
from infra.store import answer
from infra.store.tries import count

FIRST, LONGEST = 0.2, 10.0  # seconds: the first pause, and the longest
PIECE = 1 << 24  # bytes of an object that are asked for at once, when it goes to a disk
SLOWEST = 100_000  # bytes a second: what is sent more slowly counts as stalled
UNMET = 10.0  # seconds of patience with a server that was never met: its address may be wrong


class Body(io.BytesIO):
    """The bytes of an object, all of which came."""

    async def read(self, amount: int = -1) -> bytes:  # type: ignore[override]
        return super().read(amount)


class S3(S3FileSystem):  # type: ignore[misc]
    """s3fs with patience. Instances live in one process; threads may share them.

    patience: seconds for which one request is tried again. unmet: the same, as long as the server never answered this process.
    """

    retries = 1  # of s3fs's own loop
    met: ClassVar[set[str]] = set()  # addresses where something answered

    def __init__(self, *args: Any, patience: float = 120.0, unmet: float = UNMET, **kwargs: Any) -> None:
        own = {"retries": {"total_max_attempts": 1, "mode": "standard"}, "connect_timeout": 5, "read_timeout": 20, "max_pool_connections": 64}
        kwargs["config_kwargs"] = own | (kwargs.get("config_kwargs") or {})
        super().__init__(*args, **{"use_listings_cache": False, **kwargs})
        self.patience, self.unmet, self._renewing = patience, min(unmet, patience), asyncio.Lock()

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        refuse(path)
        found: dict[str, Any] = S3FileSystem._get_kwargs_from_urls(path)
        return found

    async def _call_s3(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """One request and all of its answer."""
        url, began, tries, renewed = f"s3://{kwargs.get('Bucket', '')}/{kwargs.get('Key', '')}".rstrip("/"), 0.0, 0, False
        while True:
            client, tries = self._s3, tries + 1
            try:
                answered = await self._whole(method, await asyncio.wait_for(super()._call_s3(method, *args, **kwargs), self._limit(kwargs)))
                self.met.add(self._address())
                return answered
            except Exception as error:
                if answer.response_of(error):
                    self.met.add(self._address())
                if (landed := await self._landed(method, kwargs, error)) is not None:
                    return landed
                now = time.monotonic()
                if answer.stale(error, method) and not renewed:
                    renewed = True
                    await self._renew(client)
                    continue
                if not (kind := answer.transient(error)):
                    raise_from(answer.final(error, url, self._keeper()), error)
                began = began or now
                pause = random.uniform(0.5, 1.0) * min(LONGEST, FIRST * 2 ** min(tries - 1, 10))
                if now + pause - began > (self.patience if self._address() in self.met else self.unmet):
                    raise answer.exhausted(error, url, now - began, tries) from error
                count(kind)
                await asyncio.sleep(pause)

    call_s3 = sync_wrapper(_call_s3)  # s3fs's own is bound to its own loop

    async def _landed(self, method: str, kwargs: dict[str, Any], error: Exception) -> dict[str, Any] | None:
        """The answer that was lost, where the store refuses to do again what was done already; else None.

        By an earlier try of this loop, or of aiohttp, which sends a PUT twice without a word; what is there is known by its bytes.
        """
        code, of = answer.code_of(error), {"Bucket": kwargs.get("Bucket"), "Key": kwargs.get("Key")}
        if method == "abort_multipart_upload" and code == "NoSuchUpload":
            return {}
        if code not in ("412", "PreconditionFailed", "NoSuchUpload"):
            return None
        try:
            if method == "complete_multipart_upload":
                head = await self._call_s3("head_object", **of)
                return head if head["ETag"] == etag(kwargs["MultipartUpload"]["Parts"]) else None
            if method == "put_object":
                found = await self._call_s3("get_object", **of)
                return found if await found["Body"].read() == bytes(kwargs.get("Body", b"")) else None
        except FileNotFoundError:
            pass
        return None

    async def _whole(self, method: str, answered: Any) -> Any:
        """The answer with its body read; Nonsense where it is not one of S3's."""
        if method == "get_object":
            body = answered["Body"]
            try:
                content = await body.read()
            finally:
                body.close()
            if "ETag" not in answered or len(content) != answered.get("ContentLength", len(content)):
                raise answer.Nonsense(f"an answer of {len(content)} bytes that is no object of {answered.get('ContentLength')} bytes")
            answered["Body"] = Body(content)
        elif method in ("head_object", "put_object", "upload_part") and "ETag" not in answered:
            raise answer.Nonsense(f"an answer to {method} without an ETag")
        elif method == "delete_objects" and any(one.get("Code") in answer.TRANSIENT for one in answered.get("Errors", ())):
            raise answer.Nonsense("some of the objects could not be removed this time")
        return answered

    def _limit(self, kwargs: dict[str, Any]) -> float | None:
        """Seconds for one try of a request with a body: aiohttp's limit on silence begins only when all of it was sent."""
        size = len(kwargs.get("Body", b""))
        return self.config_kwargs["read_timeout"] + size / SLOWEST if size else None

    async def _renew(self, client: Any) -> None:
        """Read the credential chain anew, unless another request has done so since `client` was used."""
        async with self._renewing:
            if self._s3 is client:
                count("credentials")
                await self.set_session(refresh=True)

    def _address(self) -> str:
        return str(self._s3.meta.endpoint_url) if self._s3 is not None else ""

    def _keeper(self) -> str:
        credentials = getattr(getattr(self._s3, "_request_signer", None), "_credentials", None)
        return str(getattr(credentials, "method", "") or "")

    async def _cat_file(self, path: str, version_id: str | None = None, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """One request; s3fs would first ask how long the file is."""
        found: bytes = await super()._cat_file(path, version_id=version_id, start=start, end=end, max_concurrency=1)
        return found

    async def _get_file(self, rpath: str, lpath: str, callback: Any = None, **_: Any) -> None:
        """An object to a disk, in pieces that come at the same time, of one and the same version of it."""
        if os.path.isdir(lpath):
            return
        bucket, key, _version = self.split_path(rpath)
        head = await self._call_s3("head_object", Bucket=bucket, Key=key)
        room, total = asyncio.Semaphore(self.max_concurrency), head["ContentLength"]
        if callback is not None:
            callback.set_size(total)
        with open(lpath, "wb") as file:

            async def piece(start: int) -> None:
                part = {"Range": f"bytes={start}-{min(start + PIECE, total) - 1}"} if total > PIECE else {}
                async with room:
                    found = await self._call_s3("get_object", Bucket=bucket, Key=key, IfMatch=head["ETag"], **part)
                    content = await found["Body"].read()
                    await asyncio.to_thread(os.pwrite, file.fileno(), content, start)
                if callback is not None:
                    callback.relative_update(len(content))

            pieces = [asyncio.ensure_future(piece(start)) for start in range(0, max(total, 1), PIECE)]
            try:
                await asyncio.gather(*pieces)
            finally:
                for one in pieces:
                    one.cancel()
                await asyncio.gather(*pieces, return_exceptions=True)  # before the file is closed

    def pages(self, path: str, delimiter: str = "") -> Iterator[dict[str, Any]]:
        """The answers of a listing below a prefix, page by page."""
        bucket, prefix, _ = self.split_path(path)
        more: dict[str, Any] = {"Delimiter": delimiter} if delimiter else {}
        while True:
            page = self.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]


def etag(parts: list[dict[str, Any]]) -> str:
    """The ETag of an object uploaded in parts: the md5 of their md5s, and how many there are."""
    tags = [part["ETag"].strip('"') for part in parts]
    if not all(re.fullmatch("[0-9a-f]{32}", tag) for tag in tags):
        return ""  # an encrypted bucket's: nothing can be told from them
    return f'"{hashlib.md5(bytes.fromhex("".join(tags)), usedforsecurity=False).hexdigest()}-{len(tags)}"'


def raise_from(final: Exception, error: Exception) -> None:
    if final is error:
        raise error
    raise final from error
