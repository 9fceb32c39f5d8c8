"""Removing files of a store, many at once, with what keeps them: rights, a lock on the object, or a bucket that keeps every version."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from infra.store.place import MOST, Place, filesystem


class Doomed(Protocol):
    """A file by its name in the store, or the upload of one."""

    @property
    def name(self) -> str: ...
    @property
    def upload(self) -> str: ...


D = TypeVar("D", bound=Doomed)


def uploads(place: Place) -> Iterator[tuple[str, str, int, float]]:
    """(name, upload, bytes, begun) of every upload into the place that was begun and neither completed nor aborted."""
    if not place.s3:
        return
    fs = filesystem(place.url)
    bucket, prefix, _ = fs.split_path(place.url)
    prefix = f"{prefix}/" if prefix else ""
    after: dict[str, str] = {}
    while True:
        page = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix, **after)
        for one in page.get("Uploads", ()):
            if one["Key"].startswith(prefix):
                parts = fs.call_s3("list_parts", Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"]).get("Parts", ())
                yield one["Key"].removeprefix(prefix), one["UploadId"], sum(part["Size"] for part in parts), one["Initiated"].timestamp()
        if not page.get("IsTruncated"):
            return
        after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def discard(place: Place, doomed: Sequence[D]) -> Iterator[tuple[D, str]]:
    """Remove them: (which, "" or why it remains). What is gone already is gone."""
    for one in (one for one in doomed if one.upload):
        with contextlib.suppress(FileNotFoundError):
            bucket, key, _ = filesystem(place.url).split_path(place.at(one.name))
            filesystem(place.url).call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=one.upload)
        yield one, ""
    files = [one for one in doomed if not one.upload]
    for start in range(0, len(files), MOST):
        kept = place.discard([one.name for one in files[start : start + MOST]])
        yield from ((one, kept.get(one.name, "")) for one in files[start : start + MOST])
    if place.local:
        _prune(place, {one.name.rpartition("/")[0] for one in files})


def _prune(place: Place, folders: set[str]) -> None:
    """Remove folders that became empty, up to the store's own."""
    for folder in sorted(folders, key=len, reverse=True):
        with contextlib.suppress(OSError):
            while folder:
                os.rmdir(os.path.join(place.url, folder))
                folder = folder.rpartition("/")[0]
