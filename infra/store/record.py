"""Records: the one JSON file that says a node is done, with what, from what and where its payload lies."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.errors import IntegrityError
from infra.identity import digest, is_knob, name_of

FORMAT = 1
NAME = re.compile(r"[\w-][\w.+=@-]{0,199}", re.ASCII)  # a key, an attempt or a file: no "..", no root, nothing that is escaped somewhere


@dataclass(frozen=True)
class Record:
    """A finished node. `result` is {"value": JSON} or {"type": "module:Class", "attempt": name, "files": [{name, size, digest}]}."""

    key: str
    function: str
    fingerprint: str
    revision: int
    arguments: Mapping[str, Any]
    inputs: Mapping[str, str]  # key of the input node -> digest of what it gave
    result: Mapping[str, Any]
    summary: Mapping[str, Any] = field(default_factory=dict)
    data: tuple[Any, ...] = ()  # [mark, root, low, high] of all that trained or selected the ancestors
    members: tuple[int, ...] | None = None  # indices used, where some of a list were missing
    environment: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    started: float = 0.0
    seconds: float = 0.0
    attempts: int = 1

    @property
    def digest(self) -> str:
        """One digest of what the node gave: its files' digests, or its value."""
        if "value" in self.result:
            return digest(self.result["value"])
        return digest([[file["name"], file["digest"]] for file in self.result["files"]])

    @property
    def size(self) -> int:
        """The bytes of its payload."""
        return sum(file["size"] for file in self.result.get("files", ()))

    def within(self, where: str) -> Record:
        """The record itself. Raises IntegrityError where it names what does not lie in its own folder, or not so in any store."""
        named = [self.key, *([str(self.result["attempt"])] if "attempt" in self.result else [])]
        for name in [*named, *(part for file in self.result.get("files", ()) for part in str(file["name"]).split("/"))]:
            if not NAME.fullmatch(name):
                raise IntegrityError(f"{where}: names {name!r}, which is no name of a file of ours; remove the folder to compute it again")
        if any(not isinstance(file["size"], int) or file["size"] < 0 for file in self.result.get("files", ())):
            raise IntegrityError(f"{where}: a size is no number of bytes; remove the folder to compute it again")
        mapped = isinstance(self.arguments, Mapping) and isinstance(self.inputs, Mapping)
        timed = isinstance(self.started, int | float) and isinstance(self.seconds, int | float)
        if not mapped or not timed or any(not isinstance(file["digest"], str) for file in self.result.get("files", ())):
            raise IntegrityError(f"{where}: not a record (a field has another type); remove the folder to compute it again")
        return self

    def to_bytes(self) -> bytes:
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Record:
        """Raises IntegrityError for what is not a record, or not one that this version reads."""
        try:
            fields = json.loads(data)
            version = fields.pop("format")
            if version != FORMAT:
                raise IntegrityError(f"{where}: has format {version}, this stockpot reads {FORMAT}; use the one that wrote it, or another --store")
            members = fields.pop("members")
            return cls(**{**fields, "data": tuple(fields["data"]), "members": None if members is None else tuple(members)}).within(where)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise IntegrityError(f"{where}: not a record ({error}); remove the folder to compute it again") from None


def encode(value: Any, where: str = "result") -> Any:
    """JSON of a result: numbers, strings, lists, mappings and frozen dataclasses of them. Raises ValueError for anything else."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [encode(item, where) for item in value]
    if isinstance(value, Mapping):
        return {str(key): encode(item, where) for key, item in value.items()}
    if is_knob(value):
        return {"is": name_of(type(value)), **{f.name: encode(getattr(value, f.name), where) for f in dataclasses.fields(value)}}
    raise ValueError(f"{where}: a {type(value).__name__} can be neither recorded nor saved; return JSON values, or an object with save and load")


def decode(value: Any) -> Any:
    """The result that `encode` wrote; classes are imported by name, from components only."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, dict):
        fields = {key: decode(item) for key, item in value.items() if key != "is"}
        return locate(value["is"])(**fields) if "is" in value else fields
    return value


def locate(name: str) -> Any:
    """The class of `components` that `module:qualname` names; nothing else is imported, and nothing that a module merely imports is called."""
    module, _, qualname = name.partition(":")
    if module.split(".")[0] != "components":
        raise IntegrityError(f"a record names {name}, which is not in components; it was not written by stockpot")
    try:
        found: Any = importlib.import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (AttributeError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("components"):
            raise  # the class is there, what it needs is not installed
        raise IntegrityError(f"a record names {name}, which this stockpot has not got; use the one that wrote it, or another --store") from None
    if not isinstance(found, type) or found.__module__ != module:
        raise IntegrityError(f"a record names {name}, which is no class of that module; it was not written by stockpot")
    return found
