"""The store: `{store}/{function}-{fingerprint}/` holds a node's attempts, leases, training states and, once it is done, its record."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from infra.errors import IntegrityError, StoreError
from infra.store.kept import Kept
from infra.store.place import Place
from infra.store.record import FORMAT, Record, decode, locate

SMALL = 1 << 20  # bytes of a file that is checked before it is opened
CHECKED: set[str] = set()  # URLs of small files that were as recorded: an attempt's files never change, and one model has many readers


def small(record: Record) -> list[Mapping[str, Any]]:
    """The small files of a payload."""
    return [file for file in record.result.get("files", ()) if file["size"] <= SMALL]


def one_chunk(content: bytes) -> str:
    """`types.File.digest` of a file of one chunk."""
    return hashlib.sha256(hashlib.sha256(content).digest()).hexdigest()


class Store:
    """A store at a URL. Everything in it is relative, so that a copy keeps every hit."""

    def __init__(self, url: str) -> None:
        self.place = Place(url)
        self.url = self.place.url
        self._records = Kept()

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
        return key in self._records or self.place.exists(f"{key}/record.json")

    def done(self, keys: Iterable[str]) -> set[str]:
        """Which of these nodes have a record; those of a remote store are read all at once, and kept."""
        if self.place.local:
            return {key for key in keys if self.has(key)}
        wanted = list(dict.fromkeys(keys))
        self.fetch(wanted)
        return {key for key in wanted if key in self._records}

    def fetch(self, keys: Iterable[str]) -> None:
        """Read the records of nodes that will be asked for, all at once."""
        names = {key: f"{key}/record.json" for key in keys if key not in self._records}
        found = self.place.read_many(list(names.values())) if names else {}
        for key, name in names.items():
            if (data := found[name]) is not None:
                self._records.put(key, data)

    def forget(self, keys: Iterable[str]) -> None:
        """Read the records of these nodes anew, next time: another driver may have withdrawn one."""
        for key in keys:
            self._records.pop(key)

    def retire(self, key: str, attempt: str) -> bool:
        """Withdraw the record that names a damaged attempt; it stays to be read as `retired/{n}.json`. The lease must be one's own.

        False where another record stands there by now: it was computed again meanwhile.
        """
        self.forget([key])
        record, number = self.record(key), 0
        if record is not None and record.result.get("attempt", "") != attempt:
            return False
        if (found := self._records.pop(key)) is not None:
            while not self.place.create(f"{key}/retired/{number}.json", found):
                number += 1
            self.place.remove(f"{key}/record.json")
        return True

    def record(self, key: str) -> Record | None:
        """The record of a finished node, or None."""
        self.fetch([key])
        found = self._records.get(key)
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

    def check(self, records: Iterable[Record]) -> None:
        """Compare the small files of payloads (configurations, predictions) with their records, all at once, each once in a process.

        Raises IntegrityError. Large ones are checked by who streams them.
        """
        expected = {f"{record.key}/attempts/{record.result['attempt']}/{file['name']}": file for record in records for file in small(record)}
        fresh = {name: file for name, file in expected.items() if self.place.at(name) not in CHECKED}
        contents = self.place.read_many(fresh) if fresh else {}
        for name, file in fresh.items():
            content = contents[name]
            if content is None or len(content) != file["size"] or one_chunk(content) != file["digest"]:
                raise IntegrityError(f"{self.place.at(name)}: {'is gone' if content is None else 'is not as recorded'}; run the same command again")
        CHECKED.update(map(self.place.at, fresh))

    def open(self, record: Record) -> Any:
        """What a record stands for; a payload is opened at its URL, and its type is imported only now."""
        if "value" in record.result:
            return decode(record.result["value"])
        self.check([record])
        return locate(record.result["type"]).load(self.payload(record))

    def fail(self, key: str, failure: Mapping[str, Any]) -> None:
        self.place.write(f"{key}/failure.json", json.dumps(failure, indent=1).encode())

    def failure(self, key: str) -> Mapping[str, Any] | None:
        return self.failures([key]).get(key)

    def failures(self, keys: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """{key: how its last attempt failed} of the nodes whose attempts did."""
        names = {key: f"{key}/failure.json" for key in keys}
        found = self.place.read_many(list(names.values()))
        return {key: json.loads(data) for key, name in names.items() if (data := found[name]) is not None}

    def keys(self, function: str = "") -> list[str]:
        """Keys of the nodes that were ever started, sorted; of one function where it is named."""
        names = (name for name in self.place.names() if "-" in name)
        return [name for name in names if not function or name.rsplit("-", 1)[0] == function]
