"""The store: `{store}/{function}-{fingerprint}/` holds a node's attempts, leases, training states and, once it is done, its record."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from typing import Any

from infra.errors import IntegrityError, StoreError
from infra.store.place import Place
from infra.store.record import FORMAT, Record, decode, locate


class Store:
    """A store at a URL. Everything in it is relative, so that a copy keeps every hit."""

    def __init__(self, url: str) -> None:
        self.place = Place(url)
        self.url = self.place.url

    def prepare(self, *, write: bool = True) -> None:
        """Check that the store is of this format and, with `write`, that it can be written, before anything is computed.

        Raises StoreError (exit 4) where it cannot be written and IntegrityError (exit 5) where another version wrote it.
        """
        found = self.place.read("store.json")
        if found is None:
            self.place.create("store.json", json.dumps({"stockpot": {"format": FORMAT}}).encode())
            return
        try:
            version = json.loads(found)["stockpot"]["format"]
        except (ValueError, KeyError, TypeError):
            version = "unknown"
        if version != FORMAT:
            raise IntegrityError(f"{self.url}: has format {version}, this stockpot reads {FORMAT}; use the one that wrote it, or another --store")
        if write and self.place.local and not os.access(self.url, os.W_OK):
            raise StoreError(f"{self.url}: cannot be written; change its permissions or choose another --store")

    def has(self, key: str) -> bool:
        return self.place.exists(f"{key}/record.json")

    def record(self, key: str) -> Record | None:
        """The record of a finished node, or None."""
        found = self.place.read(f"{key}/record.json")
        return None if found is None else Record.from_bytes(found, self.place.at(f"{key}/record.json"))

    def publish(self, record: Record) -> bool:
        """Make a node done; False where another attempt was first, whose record then stands."""
        return self.place.create(f"{record.key}/record.json", record.to_bytes())

    def attempt(self, key: str) -> tuple[str, str]:
        """(name, URL) of a fresh folder for a payload, beside all other attempts."""
        name = uuid.uuid4().hex[:12]
        return name, self.place.at(f"{key}/attempts/{name}")

    def payload(self, record: Record) -> str:
        """URL of the folder that holds the payload of a record."""
        return self.place.at(f"{record.key}/attempts/{record.result['attempt']}")

    def finished(self, key: str) -> Record:
        """The record of a node that must be there. Raises StoreError where it is not."""
        record = self.record(key)
        if record is None:
            raise StoreError(f"{self.place.at(key)}: has no record; it is not finished")
        return record

    def load(self, key: str) -> Any:
        """The result of a finished node."""
        return self.open(self.finished(key))

    def open(self, record: Record) -> Any:
        """What a record stands for; a payload is opened at its URL, and its type is imported only now."""
        if "value" in record.result:
            return decode(record.result["value"])
        return locate(record.result["type"]).load(self.payload(record))

    def fail(self, key: str, failure: Mapping[str, Any]) -> None:
        self.place.write(f"{key}/failure.json", json.dumps(failure, indent=1).encode())

    def failure(self, key: str) -> Mapping[str, Any] | None:
        found = self.place.read(f"{key}/failure.json")
        return None if found is None else json.loads(found)

    def keys(self, function: str = "") -> list[str]:
        """Keys of the nodes that were ever started, sorted; of one function where it is named."""
        names = (name for name in self.place.names() if "-" in name)
        return [name for name in names if not function or name.rsplit("-", 1)[0] == function]
