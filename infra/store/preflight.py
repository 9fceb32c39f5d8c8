"""Can this store be worked in? A handful of requests, before anything is computed: each thing a run needs, and its remedy where it is missing."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from infra.errors import StoreError
from infra.store.answer import ahead
from infra.store.lease import PATIENCE, Driver
from infra.store.place import Place, filesystem

SKEW = 300.0  # seconds by which the clocks may differ; S3 refuses at 900
PART = 5 << 20  # bytes: the smallest part but the last
LOST = "exclusive creation is not honoured, so that two drivers could publish one node twice: let one driver at a time use this store"
INODES = 10_000  # files that a run may want to make on a disk


@dataclass(frozen=True)
class Finding:
    """What one check found: a line. `error` where a run cannot go on with it."""

    name: str
    told: str
    error: OSError | None = None
    warning: bool = False


class Preflight:
    """The checks of one store, under names of their own that are removed at the end."""

    def __init__(self, place: Place) -> None:
        self.place, self.folder = place, f"probes/{uuid.uuid4().hex}"
        self.client: Any = None if place.local else filesystem(place.url)

    def run(self) -> list[Finding]:
        """Every finding, in a fixed order; an error is told once. Nothing is left in the store where things can be deleted."""
        checks: list[tuple[str, Callable[[], str]]] = [("list", self.listing), ("write, read", self.writing), ("exclusive create", self.exclusive)]
        if self.place.s3:
            checks += [("multipart", self.multipart), ("clock", self.clock)]
        with ThreadPoolExecutor(len(checks), "preflight") as pool:
            found = list(pool.map(lambda check: self.one(*check), checks))
        if self.place.local and not any(one.error for one in found):
            found.append(self.one("files", self.files))
        return [*found, self.one("delete", self.deleting)] if found[1].error is None else found

    def one(self, name: str, check: Callable[[], str]) -> Finding:
        try:
            told = check()
            return Finding(name, told, warning=told.startswith("warning"))
        except OSError as error:  # the client's own are StoreErrors
            return Finding(name, str(error), error)

    def listing(self) -> str:
        self.place.names()
        return "the store can be listed"

    def writing(self) -> str:
        """Write, read back whole and in part, overwrite."""
        name, former, content = f"{self.folder}/file", b"former", bytes(range(256))
        for written in (former, content):
            self.place.write(name, written)
            if (found := self.place.read(name)) != written:
                raise StoreError(f"{self.place.at(name)}: other bytes came back than were written ({len(found or b'')}); choose another --store")
        if self.client is not None and self.client.cat_file(self.place.at(name), start=3, end=9) != content[3:9]:
            raise StoreError(f"{self.place.at(name)}: a part of an object cannot be read; use a store that answers range requests")
        return "what is written can be overwritten, and read whole and in part"

    def exclusive(self) -> str:
        name = f"{self.folder}/exclusive"
        if not self.place.create(name, b"one"):
            raise StoreError(f"{self.place.at(name)}: what is new cannot be created exclusively; choose another --store")
        if not self.place.create(name, b"another"):
            return "a second exclusive creation is refused"
        if others := self.others():
            raise StoreError(f"{self.place.url}: {LOST}; another driver is alive ({others}): wait for its end, or choose another --store")
        return f"warning: {LOST}"

    def others(self) -> str:
        """Who else drives this store, or "": whose heartbeat is as fresh as the probe, by the store's own clock."""
        probed = max(changed for _, _, changed in self.place.find(self.folder))
        fresh = [name for name, _, changed in self.place.find("drivers") if changed > probed - PATIENCE]
        return next((who for who in Driver(self.place).alive(name.removesuffix(".json") for name in fresh).values() if who), "")

    def multipart(self) -> str:
        name, parts = f"{self.folder}/parts", [bytes(PART), b"end"]
        bucket, key, _ = self.client.split_path(self.place.at(name))
        to = {"Bucket": bucket, "Key": key}
        to["UploadId"] = self.client.call_s3("create_multipart_upload", **to)["UploadId"]
        sent = [self.client.call_s3("upload_part", PartNumber=i + 1, Body=part, **to)["ETag"] for i, part in enumerate(parts)]
        named = [{"PartNumber": i + 1, "ETag": tag} for i, tag in enumerate(sent)]
        self.client.call_s3("complete_multipart_upload", MultipartUpload={"Parts": named}, **to)
        if self.client.cat_file(self.place.at(name), start=PART - 1, end=PART + 3) != b"\0end":
            raise StoreError(f"{self.place.at(name)}: an object uploaded in parts has other bytes; choose another --store")
        return "objects can be uploaded in parts"

    def clock(self) -> str:
        name = f"{self.folder}/clock"
        bucket, key, _ = self.client.split_path(self.place.at(name))
        answered = self.client.call_s3("put_object", Bucket=bucket, Key=key, Body=b"")
        date = answered["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        seconds = ahead(date) if date else 0.0
        if abs(seconds) <= SKEW:
            return "this machine's clock is the store's"
        side = "ahead of" if seconds > 0 else "behind"
        return f"warning: this machine's clock is {abs(seconds):.0f} s {side} the store's; set it (timedatectl set-ntp true)"

    def files(self) -> str:
        state = os.statvfs(self.place.url)  # written to by now
        if state.f_files and state.f_favail < INODES:
            raise StoreError(f"{self.place.url}: its disk has room for {state.f_favail} more files; remove some, or choose another --store")
        return f"room for {state.f_favail:,} files" if state.f_files else "room for any number of files"

    def deleting(self) -> str:
        gone = self.place.remove(self.folder)
        if self.place.local:
            with contextlib.suppress(OSError):  # another one's probes
                os.rmdir(self.place.at("probes"))
        if gone:
            return "what was written can be deleted"
        return "warning: the bucket keeps former versions: what gc removes goes on to cost; set a lifecycle rule for noncurrent versions"


def ready(place: Place) -> list[str]:
    """What a person should know before a run begins in a store. Raises the first error: nothing can be computed with it."""
    found = Preflight(place).run()
    for one in found:
        if one.error is not None:
            raise one.error
    return [f"{place.url}: {one.told.removeprefix('warning: ')}" for one in found if one.warning]
