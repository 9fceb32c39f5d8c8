"""What is computed has an identity: canonical JSON of a function, its revision and the arguments that differ from their defaults.

Canonical means: numbers by annotation (1 is 1.0 where a float is meant), defaults left out, order kept, data by content instead of
address. What cannot be written down exactly (lambdas, mutable dataclasses, NaN, sets) is refused with the remedy.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import hashlib
import inspect
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

Json = Any
F = typing.TypeVar("F", bound=Callable[..., Any])
KNOWN = 4096  # dataclasses whose canonical form is remembered
LENGTH = 20  # hex digits of a fingerprint: 80 bits


def digest(value: Json) -> str:
    """sha256 (hex, 80 bits) of the compact JSON of a canonical value."""
    return hashlib.sha256(json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()).hexdigest()[:LENGTH]


def cached(fn: F) -> F:
    """functools.cache, with the types kept."""
    return typing.cast(F, functools.cache(fn))


class _Attributes(type):
    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return Unknown


class Unknown(metaclass=_Attributes):
    """Stands for a type that is imported for type checkers only: what it is does not matter to an identity."""


class _Names(dict[str, Any]):
    """The names that a module's annotations may use, those imported for type checkers alone included."""

    def __init__(self, module: str) -> None:
        self.known = vars(sys.modules[module])

    def __missing__(self, name: str) -> Any:
        return self.known[name] if name in self.known else getattr(builtins, name, Unknown)


@cached
def hints_of(thing: Any) -> Mapping[str, Any]:
    """Resolved annotations of a function's parameters or a dataclass's fields, `Annotated` kept; nothing is imported for it."""
    found: dict[str, Any] = {}
    fields = {field.name for field in dataclasses.fields(thing)} if isinstance(thing, type) else set(thing.__annotations__)
    for owner in reversed(thing.__mro__) if isinstance(thing, type) else [thing]:
        own = {name: hint for name, hint in inspect.get_annotations(owner).items() if name in fields}
        holder = types.SimpleNamespace(__annotations__=own)
        found.update(typing.get_type_hints(holder, globalns={}, localns=_Names(owner.__module__), include_extras=True))
    return found


@cached
def marks(thing: Any) -> Mapping[str, str]:
    """{parameter or field: mark} for what is annotated `Annotated[..., "mark"]`."""
    found = ((name, getattr(hint, "__metadata__", ())) for name, hint in hints_of(thing).items())
    return {name: meta[0] for name, meta in found if meta and isinstance(meta[0], str)}


@cached
def drawn(fn: Callable[..., Any]) -> str:
    """The parameter in whose place a member of a query over the store is drawn (marked "draws"), or "" where a function draws none."""
    return next((name for name, mark in marks(fn).items() if mark == "draws"), "")


def makes_checkpoint(fn: Callable[..., Any]) -> bool:
    """Whether a function gives a model, as its annotation says."""
    return any(kind in str(fn.__annotations__.get("return")) for kind in ("Checkpoint", "Combination"))


@cached
def parameters(fn: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters that are identity: all but `run`."""
    return {name: p for name, p in inspect.signature(fn).parameters.items() if name != "run"}


def revision_of(thing: Callable[..., Any] | type) -> int:
    """The revision that `@revision(n)` gave this very function or class."""
    found = getattr(thing, "__dict__", {}).get("__revision__")
    if not isinstance(found, int):
        raise ValueError(f"{thing.__qualname__} has no revision and cannot be part of an identity; decorate it with @revision(1), or pass its fields")
    return found


def name_of(thing: Callable[..., Any] | type) -> str:
    """`module:qualname`, from which a worker or a record finds it again."""
    if "<" in thing.__qualname__:
        raise ValueError(f"{thing.__qualname__} cannot be found again by name; define it at the top of a module")
    return f"{thing.__module__}:{thing.__qualname__}"


@cached
def wants_float(hint: Any) -> bool:
    """Whether an annotation means a real number and not an integer."""
    if typing.get_origin(hint) is typing.Annotated:
        return wants_float(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        return float in options and int not in options
    return hint is float


@cached
def inner_hint(hint: Any) -> Any:
    """The annotation of the elements of a list or tuple, or of the values of a mapping."""
    if typing.get_origin(hint) is typing.Annotated:
        return inner_hint(typing.get_args(hint)[0])
    arguments = [a for a in typing.get_args(hint) if a is not Ellipsis and a is not type(None)]
    return arguments[-1] if arguments else None


def is_knob(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def addresses(value: Any) -> Mapping[str, str]:
    """{field: URL} of what a knob reads, which is identified by content: fields marked "address", or what its method `addresses` says."""
    own = getattr(value, "addresses", None)
    if callable(own):
        return {field: url for field, url in own().items() if url}
    return {name: url for name, mark in marks(type(value)).items() if mark == "address" and (url := getattr(value, name))}


@dataclasses.dataclass(frozen=True)
class Member:
    """A finished record that a query found: its key, the digest of what it gave, and what trained or selected it, as its record says."""

    key: str
    digest: str
    data: tuple[Any, ...] = ()


class Resolved(dict[str, str]):
    """What a plan's sources are pinned to, {address: digest of its manifest}, and what its queries found, {canonical query: members}.

    told: a line for each query.
    """

    def __init__(self, pins: Mapping[str, str] = types.MappingProxyType({})) -> None:
        super().__init__(pins)
        self.found: dict[str, list[Member]] = {}
        self.told: list[str] = []


@cached
def _default(cls: type, name: str) -> Any:
    field = next(f for f in dataclasses.fields(cls) if f.name == name)
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


class Canon:
    """Canonical JSON of values; `pins` maps addresses of sources to the digests of their manifests, `nodes` gives a node's fingerprint."""

    def __init__(self, pins: Mapping[str, str] | None = None, node: Callable[[Any], str | None] = lambda value: None) -> None:
        self.pins = pins or {}
        self.found: Mapping[str, list[Member]] = pins.found if isinstance(pins, Resolved) else {}
        self.node = node
        self._knobs: dict[int, tuple[Any, Json]] = {}  # the value is kept, so that its id stays its own
        self._depth = 0  # of dataclasses around the value at hand

    def __call__(self, value: Any, hint: Any = None, where: str = "argument") -> Json:
        fingerprint = self.node(value)
        if fingerprint is not None:
            if self._depth:
                raise ValueError(f"{where}: a node inside a dataclass is not seen as an input; pass it to the call itself")
            return {"node": fingerprint}
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int | float):
            return self._number(value, hint, where)
        if isinstance(value, list | tuple):
            return [self(item, inner_hint(hint), f"{where}[{i}]") for i, item in enumerate(value)]
        if isinstance(value, Mapping):
            return {"map": [[self._key(key, where), self(item, inner_hint(hint), f"{where}.{key}")] for key, item in value.items()]}
        if is_knob(value):
            return self._knob(value, where)
        raise ValueError(f"{where}: a {type(value).__name__} cannot be part of an identity; use numbers, strings, lists or frozen dataclasses")

    def _number(self, value: float, hint: Any, where: str) -> Json:
        if not math.isfinite(value):
            raise ValueError(f"{where}: {value} cannot be part of an identity; leave it out or give a finite number")
        return float(value) if wants_float(hint) else value

    def _key(self, key: Any, where: str) -> str:
        if not isinstance(key, str):
            raise ValueError(f"{where}: keys of a mapping must be strings, not {key!r}")
        return key

    def _knob(self, value: Any, where: str) -> Json:
        known = self._knobs.get(id(value))
        if known is None:
            if len(self._knobs) > KNOWN:
                self._knobs.clear()
            self._depth += 1
            try:
                known = self._knobs[id(value)] = (value, self._fields(value, where))
            finally:
                self._depth -= 1
        return known[1]

    def _fields(self, value: Any, where: str) -> Json:
        cls = type(value)
        if not cls.__dataclass_params__.frozen:
            raise ValueError(f"{where}: {cls.__name__} is mutable; declare it @dataclass(frozen=True)")
        out: dict[str, Json] = {"is": f"{cls.__name__}@{revision_of(cls)}"}
        hints, marked, where_from = hints_of(cls), marks(cls), addresses(value)
        for field in dataclasses.fields(cls):
            item, here = getattr(value, field.name), f"{where}.{field.name}"
            if where_from.get(field.name) in self.pins:
                out[field.name] = {"content": self.pins[where_from[field.name]]}
                continue
            if marked.get(field.name) == "content" and not item:
                continue
            canonical = self(item, hints[field.name], here)
            default = _default(cls, field.name)
            if default is dataclasses.MISSING or canonical != self(default, hints[field.name], here):
                out[field.name] = canonical
        return out

    def arguments(self, fn: Callable[..., Any], bound: Mapping[str, Any]) -> dict[str, Json]:
        """The canonical arguments of a call, those equal to their default left out."""
        hints, member = hints_of(fn), self.member(fn, bound)
        out: dict[str, Json] = {} if member is None else {drawn(fn): {"content": member.digest}}
        for name, parameter in parameters(fn).items():
            if name not in bound or (member is not None and name in (drawn(fn), "index")):
                continue
            canonical = self(bound[name], hints.get(name), name)
            if parameter.default is inspect.Parameter.empty or canonical != self(parameter.default, hints.get(name), name):
                out[name] = canonical
        return out

    def query(self, query: Any) -> str:
        """What a query is known by."""
        return json.dumps(self(query))

    def member(self, fn: Callable[..., Any], bound: Mapping[str, Any]) -> Member | None:
        """What a call draws: the member at its `index`, modulo their number; None where it draws none, or where the query is not resolved."""
        members = self.found.get(self.query(bound[drawn(fn)])) if self.found and drawn(fn) else None
        return members[bound.get("index", 0) % len(members)] if members else None
