"""Search spaces: distributions are frozen dataclasses; the knob at path p of trial i is drawn from hash(seed, i, p) alone.

More knobs or more trials therefore never reshuffle the others, and two machines draw the same sweep.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

Point = Mapping[str, Any]  # dotted path -> value


class Distribution(ABC):
    """One knob's distribution, by its quantile function."""

    @abstractmethod
    def at(self, u: float) -> float | int | str:
        """The value at quantile u in [0, 1)."""


def significant(value: float) -> float:
    """Rounded to 4 significant digits, so that a drawn value can be read, typed and recorded exactly."""
    return float(f"{value:.4g}")


@dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform on [low, high]."""

    __revision__: ClassVar[int] = 1
    low: float
    high: float

    def at(self, u: float) -> float:
        return significant(self.low + u * (self.high - self.low))


@dataclass(frozen=True)
class LogUniform(Distribution):
    """Uniform in the logarithm on [low, high], both positive."""

    __revision__: ClassVar[int] = 1
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise ValueError(f"LogUniform({self.low}, {self.high}): both ends must be positive and in order")

    def at(self, u: float) -> float:
        return significant(math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low))))


@dataclass(frozen=True)
class Integers(Distribution):
    """Uniform on the integers low to high, both included."""

    __revision__: ClassVar[int] = 1
    low: int
    high: int

    def at(self, u: float) -> int:
        return self.low + int(u * (self.high - self.low + 1))


@dataclass(frozen=True)
class Sometimes(Distribution):
    """Zero with probability 1 - p, else uniform on [low, high]: the form of mixup and label smoothing in model soups (arXiv:2203.05482)."""

    __revision__: ClassVar[int] = 1
    p: float
    low: float
    high: float

    def at(self, u: float) -> float:
        return significant(self.low + u / self.p * (self.high - self.low)) if u < self.p else 0.0


@dataclass(frozen=True)
class Choice(Distribution):
    """One of the given values, with equal probability."""

    __revision__: ClassVar[int] = 1
    values: tuple[str, ...]

    def at(self, u: float) -> str:
        return self.values[int(u * len(self.values))]


Space = Mapping[str, Distribution]


def quantile(seed: int, trial: int, path: str) -> float:
    """A number in [0, 1) from sha256 of (seed, trial, path)."""
    word = hashlib.sha256(f"{seed}/{trial}/{path}".encode()).digest()[:8]
    return int.from_bytes(word, "big") / 2**64


def draw(space: Space, trials: int, *, seed: int) -> list[Point]:
    """`trials` random points of a space; point i depends on (seed, i) alone."""
    if trials < 1:
        raise ValueError(f"trials is {trials}; a sweep needs at least one")
    return [{path: knob.at(quantile(seed, i, path)) for path, knob in space.items()} for i in range(trials)]


def grid(values: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination of the given values, the last path varying fastest."""
    return [dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())]


def place(arguments: Mapping[str, Any], point: Point) -> dict[str, Any]:
    """The arguments with every dotted path of a point set, frozen dataclasses rebuilt on the way.

    Raises ValueError that names the path and what is there instead.
    """
    out = dict(arguments)
    for path, value in point.items():
        head, *rest = path.split(".")
        if rest and head not in out:
            raise ValueError(f"{path}: the call has no argument {head!r}; it has {', '.join(out)}")
        out[head] = _set(out.get(head), rest, value, path)
    return out


def _set(owner: Any, rest: Sequence[str], value: Any, path: str) -> Any:
    if not rest:
        return value
    if not dataclasses.is_dataclass(owner) or isinstance(owner, type):
        raise ValueError(f"{path}: {type(owner).__name__} has no field {rest[0]!r}")
    names = [field.name for field in dataclasses.fields(owner)]
    if rest[0] not in names:
        raise ValueError(f"{path}: {type(owner).__name__} has no field {rest[0]!r}; it has {', '.join(names)}")
    return dataclasses.replace(owner, **{rest[0]: _set(getattr(owner, rest[0]), rest[1:], value, path)})
