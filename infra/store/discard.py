"""Removing files of a store, many at once, with what keeps them: rights, a lock on the object, or a bucket that keeps every version."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from infra.store.place import Place, filesystem

MOST = 1000  # objects that one request may remove: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
VERSIONED = "the bucket keeps versions: their bytes stay until a lifecycle rule removes them"


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
    if place.s3:
        for start in range(0, len(doomed), MOST):
            yield from _objects(place, doomed[start : start + MOST])
        return
    for one in doomed:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(place.at(one.name)) if place.local else filesystem(place.url).rm_file(place.at(one.name))
            yield one, ""
        except OSError as error:
            yield one, error.strerror or str(error)
    if place.local:
        _prune(place, {one.name.rpartition("/")[0] for one in doomed})


def _objects(place: Place, doomed: Sequence[D]) -> Iterator[tuple[D, str]]:
    fs = filesystem(place.url)
    bucket, prefix, _ = fs.split_path(place.url)
    keys = {f"{prefix}/{one.name}" if prefix else one.name: one for one in doomed if not one.upload}
    for one in (one for one in doomed if one.upload):
        with contextlib.suppress(FileNotFoundError):
            fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=f"{prefix}/{one.name}" if prefix else one.name, UploadId=one.upload)
        yield one, ""
    if keys:
        answer = fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
        reasons = {one["Key"]: VERSIONED for one in answer.get("Deleted", ()) if one.get("DeleteMarker")}
        reasons |= {one["Key"]: one.get("Message") or one["Code"] for one in answer.get("Errors", ())}
        yield from ((one, reasons.get(key, "")) for key, one in keys.items())


def _prune(place: Place, folders: set[str]) -> None:
    """Remove folders that became empty, up to the store's own."""
    for folder in sorted(folders, key=len, reverse=True):
        with contextlib.suppress(OSError):
            while folder:
                os.rmdir(os.path.join(place.url, folder))
                folder = folder.rpartition("/")[0]
