"""Stores made by hand: nodes with payloads, and what runs leave beside them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from components.weights.files import digest
from infra.store import Record, Store
from tests.infra.store.races import record

OLD = time.time() - 3 * 24 * 3600.0


def node(store: Store, key: str, files: Mapping[str, bytes] | None = None, attempt: str = "a", **facts: Any) -> Record:
    """A finished node, whose result is a number or a payload of these files."""
    result: dict[str, Any] = {"value": 1.0}
    if files is not None:
        result = {"type": "components.weights.space:Checkpoint", "attempt": attempt, "files": []}
        for name, content in files.items():
            store.place.write(f"{key}/attempts/{attempt}/{name}", content)
            result["files"].append({"name": name, "size": len(content), "digest": digest(content)})
    made = record(key=key, function=f"toys:{key.rpartition('-')[0]}", fingerprint=key.rpartition("-")[2], **{"result": result, **facts})
    assert store.publish(made)
    return made


def aged(store: Store, *but: str) -> None:
    """Make everything in a store on disk three days old, except what begins so."""
    for folder, _, files in os.walk(store.url):
        for file in files:
            path = os.path.join(folder, file)
            if not os.path.relpath(path, store.url).startswith(but or ("\0",)):
                os.utime(path, (OLD, OLD))


def everything(store: Store) -> dict[str, bytes]:
    """All files of a store."""
    return {name: store.place.read(name) or b"" for name, *_ in store.place.find()}
