"""Nodes: calls that are bound and not yet made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.identity import makes_checkpoint
from infra.search import Search, nth_best
from infra.space import Point


@dataclass(frozen=True)
class Resources:
    """Where a node runs; never what it computes. `exact` resources are refused where they are missing, others fall back to CPUs and say so."""

    cpus: float = 1
    gpus: float = 0
    exact: bool = True


CPU = Resources()
GPU = Resources(gpus=1, exact=False)


@dataclass(frozen=True, eq=False)
class Sweep:
    """The nodes of one `sweep`, launched together as one Tuner; `pack` points share one trial."""

    number: int
    pack: int = 1


@dataclass(frozen=True, eq=False)
class Node:
    """A call not yet made. `point` and `sweep` say which trial of which sweep it is; they, `on` and `label` are not identity.

    With `search` it is many calls of `fn`, each with a point of a space.
    """

    fn: Callable[..., Any]
    arguments: Mapping[str, Any]
    on: Resources = CPU
    at_least: int | None = None
    label: str = ""
    sweep: Sweep | None = None
    point: Point = field(default_factory=dict)
    search: Search | None = None

    @property
    def function(self) -> str:
        return "search" if self.search else self.fn.__name__

    @property
    def makes_checkpoint(self) -> bool:
        """Whether it gives a model: no search does, but each of its best is one."""
        return not self.search and makes_checkpoint(self.arguments["found"].fn if self.fn is nth_best else self.fn)

    @property
    def title(self) -> str:
        return self.label or self.function


def children(value: Any) -> Iterator[Node]:
    """The nodes in an argument: itself, or members of its lists and mappings, in order."""
    if isinstance(value, Node):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from children(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from children(item)
