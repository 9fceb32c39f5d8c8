"""Jobs: what the driver hands to a place of execution, and the outcome that comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.node import GPU, Node, Resources
from infra.search import Search
from infra.space import Point


@dataclass(frozen=True)
class Ref:
    """Stands for the result of a finished node among the arguments of a job."""

    key: str


def refer(value: Any, key: Callable[[Node], str]) -> Any:
    """An argument with every node replaced by a `Ref` to its key."""
    if isinstance(value, Node):
        return Ref(key(value))
    if isinstance(value, list | tuple):
        return type(value)(refer(item, key) for item in value)
    if isinstance(value, Mapping):
        return {name: refer(item, key) for name, item in value.items()}
    return value


def referred(value: Any) -> Iterator[str]:
    """The keys of the `Ref`s in an argument."""
    if isinstance(value, Ref):
        yield value.key
    elif isinstance(value, list | tuple | Mapping):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from referred(item)


@dataclass(frozen=True)
class Site:
    """What all jobs of a run share: the store, the run's folder for journals, the node's cache, how often states are kept, how bytes are checked,
    what `GPU` stands for."""

    store: str
    folder: str  # of this run, in the store: journals and the stop flag
    cache: str  # a folder of each node, "" for its own settings'
    cache_limit: int = 8 << 30
    checkpoint_every: float = 60.0
    hung_after: float = 0.0  # seconds without a step after which a training counts as hanging; 0: never. Only for processes that do one job
    digest: Callable[[str], str] | None = None  # of the bytes at a URL, as `types.File` has it: a module-level function
    on: Resources = GPU


@dataclass(frozen=True)
class Job:
    """A node ready to run: dependencies are `Ref`s, sources are pinned, everything that the record will say is here.

    Of a search the sources are not pinned yet: its trials are jobs of their own, whose sources are pinned by `pins`.
    """

    key: str
    fingerprint: str
    fn: Callable[..., Any]
    arguments: Mapping[str, Any]
    canonical: Mapping[str, Any]
    on: Resources
    place: Site
    title: str = ""
    point: Point = field(default_factory=dict)
    data: tuple[Any, ...] = ()
    members: tuple[int, ...] | None = None
    attempt: int = 1
    search: Search | None = None
    pins: Mapping[str, str] = field(default_factory=dict)
    world: int = 1  # processes that compute it together, of which one records it


@dataclass(frozen=True)
class Outcome:
    """How a job ended: `state` is done, failed, stopped, lost (its process went away) or maps (`errors.Maps`; a backend's own).

    kind: the class of what was raised, or why a process went away: "node" (its machine did), "oom" (for want of memory).
    damaged: (key, attempt, what is wrong) of inputs that are not as recorded. recorded: the key of the record, where it is another.
    """

    key: str
    state: str
    error: str = ""
    kind: str = ""
    code: int = 0
    retry: bool = False
    traceback: str = ""
    seconds: float = 0.0
    retried: Mapping[str, int] = field(default_factory=dict)  # requests to the store, by kind of failure
    damaged: tuple[tuple[str, str, str], ...] = ()
    recorded: str = ""
