"""Nodes: calls that are bound and not yet made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from infra.identity import makes_checkpoint
from infra.search import Search, nth_best
from infra.space import Point


def tells(default: Any, help: str) -> Any:
    """A field with what it means, for the command line."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Resources:
    """Where a node runs; never what it computes. `exact` resources are refused where they are missing, others fall back to CPUs and say so.

    All but `workers` are of one worker, which is on one machine.
    """

    cpus: float = tells(1, "CPUs of a worker, and its threads")
    gpus: float = tells(0, "GPUs of a worker; a part of one is shared")
    exact: bool = tells(True, "wait for GPUs, or refuse, where otherwise CPUs do")
    memory: float = tells(0, "bytes of a worker; 0: not asked for")
    accelerator: str = tells("", "type of the GPUs, as Ray names it: L4, A100")
    workers: int = tells(1, "processes that train one model together")

    def __post_init__(self) -> None:
        counts = {"cpus": self.cpus, "gpus": self.gpus, "memory": self.memory}
        if wrong := next((f"{name} {value}" for name, value in counts.items() if not 0 <= value < math.inf), ""):
            raise ValueError(f"{wrong}: give a number from 0")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus {self.gpus:g}: give a whole number, or a part of one to share it")
        if self.workers < 1:
            raise ValueError(f"workers {self.workers}: give 1 or more")
        if self.workers > 1 and (0 < self.gpus < 1 or not self.gpus + self.cpus):
            raise ValueError(f"{self.workers} workers with {self.gpus:g} gpus and {self.cpus:g} cpus each: give whole GPUs, or some CPUs")
        if self.accelerator and not self.gpus:
            raise ValueError(f"accelerator {self.accelerator} without gpus: give how many of them")


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
    def calls(self) -> int:
        """How many calls of `fn` it stands for."""
        return self.search.n if self.search else 1

    @property
    def makes_checkpoint(self) -> bool:
        """Whether it gives a model: no search does, but each of its best is one."""
        return not self.search and makes_checkpoint(self.arguments["found"].fn if self.fn is nth_best else self.fn)

    @property
    def title(self) -> str:
        return self.label or self.function


def placed(node: Node, gpu: Resources) -> Resources:
    """The resources of a node, where `gpu` is what `GPU` stands for; several workers only for a component that can use them."""
    on = gpu if node.on == GPU else node.on
    return on if getattr(node.fn, "__ranks__", False) else replace(on, workers=1)


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
