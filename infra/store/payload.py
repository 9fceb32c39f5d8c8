"""Payloads against their records: what the store lost, cut short or spoiled, before somebody computes with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra.errors import IntegrityError
from infra.store.store import SMALL, Store, one_chunk

Digest = Callable[[str], str]  # of the bytes at a URL


def damaged(store: Store, keys: Sequence[str], digest: Digest | None = None) -> dict[str, tuple[str, str]]:
    """{key: (attempt, what is wrong with which file)} of the nodes whose payload is not as recorded.

    Sizes are asked for all at once; with `digest`, files of the right size are read. A record that cannot be read is somebody else's to tell.
    """
    store.fetch(keys)
    files: list[tuple[str, str, Mapping[str, Any]]] = []
    for key in keys:
        with contextlib.suppress(IntegrityError):
            if (record := store.record(key)) and "attempt" in record.result:
                files += [(key, record.result["attempt"], file) for file in record.result["files"]]
    reasons = store.place.each(lambda each: unlike(store, f"{each[0]}/attempts/{each[1]}", each[2], digest), files)
    wrong = [(key, attempt, reason) for (key, attempt, _), reason in zip(files, reasons, strict=True) if reason]
    return {key: (attempt, reason) for key, attempt, reason in reversed(wrong)}  # the first of several


def first_unlike(store: Store, folder: str, files: Sequence[Mapping[str, Any]], digest: Digest) -> str:
    """What is wrong with the first of a payload's files that is not as recorded, or ""."""
    return next(filter(None, store.place.each(lambda file: unlike(store, folder, file, digest), files)), "")


def unlike(store: Store, folder: str, file: Mapping[str, Any], digest: Digest | None) -> str:
    """What is wrong with one file of a payload, or "". With `digest` all of its bytes are read: of a small one in one request."""
    name, size, found = f"{folder}/{file['name']}", None, file["digest"]
    url = store.place.at(name)
    try:
        if digest is None or file["size"] > SMALL:
            size = store.place.size(name)
            found = digest(url) if digest is not None and size == file["size"] else found
        elif (content := store.place.read(name)) is not None:
            size, found = len(content), one_chunk(content)
    except Exception as error:  # it went, or was cut short, between two looks at it
        if not isinstance(error, FileNotFoundError) and getattr(error, "exit_code", None) != IntegrityError.exit_code:
            raise
        found = ""
    if size is None:
        return f"{url} is gone from the store"
    if size != file["size"]:
        return f"{url} has {size} bytes, {file['size']} were recorded"
    return "" if found == file["digest"] else f"{url} has other bytes than were recorded"
