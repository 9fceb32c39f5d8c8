"""Payloads against their records: what the store lost, cut short or spoiled, before somebody computes with it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from infra.errors import IntegrityError
from infra.store.store import Store

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


def unlike(store: Store, folder: str, file: Mapping[str, Any], digest: Digest | None) -> str:
    """What is wrong with one file of a payload, or ""."""
    name = f"{folder}/{file['name']}"
    url, size = store.place.at(name), store.place.size(name)
    if size is None:
        return f"{url} is gone from the store"
    if size != file["size"]:
        return f"{url} has {size} bytes, {file['size']} were recorded"
    try:
        return f"{url} has other bytes than were recorded" if digest and digest(url) != file["digest"] else ""
    except FileNotFoundError:
        return f"{url} is gone from the store"
    except Exception as error:
        if getattr(error, "exit_code", None) == IntegrityError.exit_code:  # cut short while it was read
            return f"{url} has other bytes than were recorded"
        raise
