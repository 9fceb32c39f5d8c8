"""The values and the protocols that every room of `components` shares; nothing here is heavy to import.

A frozen dataclass that carries `@revision(n)` is a knob: it is configuration, documentation and implementation at once, and its
identity is its name, its revision and the fields that differ from their defaults.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, get_type_hints, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch

T = TypeVar("T")


def revision(number: int) -> Callable[[T], T]:
    """Mark a component or a dataclass with the revision of its meaning: raise it when the same arguments should give another result."""

    def mark(thing: T) -> T:
        thing.__revision__ = number  # type: ignore[attr-defined]
        if isinstance(thing, type) and is_dataclass(thing):
            # resolved here once: a command line that reads a string annotation would import all that its module imports for type checkers
            known = {name: value for base in reversed(thing.__mro__) for name, value in vars(sys.modules[base.__module__]).items()}
            thing.__init__.__annotations__ = get_type_hints(thing.__init__, known, include_extras=True)
        return thing

    return mark


def maps(fn: T) -> T:
    """Mark a component that spreads its work with `run.map`: it starts without an accelerator, and its items get the node's resources."""
    fn.__maps__ = "always"  # type: ignore[attr-defined]
    return fn


def may_map(fn: T) -> T:
    """Mark a component that maps only where there is much to do: it starts as any other, and once it maps it is begun anew as if `@maps`."""
    fn.__maps__ = "perhaps"  # type: ignore[attr-defined]
    return fn


def ranks(fn: T) -> T:
    """Mark a component that several processes may compute together (`run.rank` of `run.world`): what rank 0 returns is its result."""
    fn.__ranks__ = True  # type: ignore[attr-defined]
    return fn


def in_order(fn: Callable[..., T], items: Sequence[Mapping[str, Any]]) -> list[T]:
    """The map of one process: the results of `fn(**item)`, one after the other."""
    return [fn(**item) for item in items]


@dataclass(frozen=True, slots=True)
class File:
    """A payload file: name relative to its folder, size in bytes, and the sha256 of the sha256s of its 16 MiB chunks (hex)."""

    name: str
    size: int
    digest: str


class DataError(Exception):
    """Bytes are not what was recorded or declared (exit code 5)."""

    exit_code = 5


class Diverged(Exception):
    """A trial whose loss or weights stopped being finite: it counts as missing, and is not retried."""

    retry = False
    exit_code = 2


@dataclass(frozen=True)
class Batch:
    """One step's examples. images: uint8 [B, 3, H, W]; labels: int64 [B], -1 where unknown; tokens: int64 [B, context] or None.

    seed: the update's, for what an objective draws itself as a function of (seed, step).
    """

    images: torch.Tensor
    labels: torch.Tensor
    tokens: torch.Tensor | None = None
    seed: int = 0


@dataclass(frozen=True)
class Score:
    """One number with what is needed to read it: metric, split, n examples, value in [0, 1] and a 95 % interval; `correct` where it is a count."""

    metric: str
    split: str
    n: int
    value: float
    low: float
    high: float
    correct: int | None = None


@dataclass(frozen=True)
class Table:
    """Rows of equal keys; values are strings, numbers or None. The key order of the first row is the column order."""

    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()


class Run(Protocol):
    """What the place of execution gives a component; never part of identity. `Local` below is the smallest one."""

    dir: str  # scratch of this attempt on a local disk
    cache: str  # folder on this node for decoded data, keyed by content, shared by all trials of the node
    cache_limit: int  # bytes that the cache may hold
    rank: int  # of this process among those that compute a `@ranks` component together; only rank 0 restores, logs, keeps states and is stopped
    world: int  # how many those are, in torch.distributed's default group where more than one
    parallel: int  # how many items `map` works on at once

    def log(self, step: int, **metrics: float) -> None:
        """Report finite numbers at a step."""

    def alive(self) -> None:
        """Say between two steps, within what takes long, that it goes on: who waits for the next step waits anew."""

    def enough(self, step: int, steps: int, value: float) -> bool:
        """Tell what the result would be worth at this of so many steps, more being better; whether a search stops the trial: it then returns that."""

    def map(self, fn: Callable[..., T], items: Sequence[Mapping[str, Any]]) -> list[T]:
        """The results of the module-level `fn(**item)`, in item order."""

    def manifest(self, digest: str) -> Sequence[File]:
        """The pinned files of a source: relative name, size and sha256 of each."""

    def restore(self) -> str | None:
        """A local folder with the newest valid training state, or None where there is none."""

    def checkpoint(self, step: int, write: Callable[[str], None], force: bool = False) -> None:
        """Offer a training state: where one is due, `write(folder)` is called with a local folder. Raises when the run was told to stop."""


@dataclass
class Local:
    """A `Run` without infrastructure: unit tests, notebooks and one process."""

    dir: str
    cache: str = ""
    cache_limit: int = 1 << 34
    rank: int = 0
    world: int = 1
    parallel: int = 1
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cache = self.cache or f"{self.dir}/cache"

    def log(self, step: int, **metrics: float) -> None:
        self.history.append((step, metrics))

    def alive(self) -> None:
        return None

    def enough(self, step: int, steps: int, value: float) -> bool:
        return False

    def map(self, fn: Callable[..., T], items: Sequence[Mapping[str, Any]]) -> list[T]:
        return in_order(fn, items)

    def manifest(self, digest: str) -> Sequence[File]:
        raise LookupError(f"no manifest {digest}: this run pins nothing")

    def restore(self) -> str | None:
        return None

    def checkpoint(self, step: int, write: Callable[[str], None], force: bool = False) -> None:
        return None


class Examples(Protocol):
    """An opened dataset: random access to decoded raw examples, by index in a fixed order."""

    ids: np.ndarray  # [N] str, unique
    labels: np.ndarray  # [N] int64, -1 where there is none
    groups: np.ndarray | None  # [N] int64, for worst-group metrics
    captions: Sequence[Sequence[str]] | None  # [N] one or more captions each
    classes: tuple[str, ...]  # class names where the source knows them, else ()
    skipped: tuple[str, ...]  # unreadable images within the budget, `name: reason`
    digest: str  # content identity: key of everything cached from these examples
    columns: tuple[tuple[int, ...], ...] = ()  # for each class the rows of a head of `width` classes that stand for it, () where there is none such
    width: int = 0

    def __len__(self) -> int: ...

    def images(self, indices: Iterable[int]) -> list[np.ndarray]:
        """uint8 [H, W, 3] RGB arrays, sizes may differ."""


@runtime_checkable
class Dataset(Protocol):
    """A declarative source of examples: a frozen dataclass that opens."""

    def open(self, run: Run) -> Examples:
        """Decode (or find in the node's cache) and return the examples; the bytes are checked against the pinned manifest."""

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        """(root dataset, low, high): which range of hash(example id) of which root this dataset draws from. Disjointness is arithmetic on these."""


class Objective(Protocol):
    """What training minimises: a frozen dataclass with the `views` it needs."""

    labelled: ClassVar[bool] = False  # every example needs a label
    captioned: ClassVar[bool] = False  # batches carry tokens

    def bind(self, model: Any, reference: Any | None) -> Any:
        """A callable `(Batch, step) -> losses [B]`, or a scalar with `separable = False`; may own parameters (`nn.Module`)."""


class Update(Protocol):
    """What one step is: optimiser, schedule, precision, global batch size, seed."""

    def bind(self, bound: Any, trained: Any, steps: int, run: Run) -> Any:
        """What draws the examples of a step and makes it, for the named parameters `trained` of a bound objective."""


class Predictor(Protocol):
    """How a model answers: logits, features or tuned prompts for a batch."""

    def bind(self, model: Any) -> Any:
        """A callable from images uint8 [B, 3, H, W] to rows [B, K]."""


class Metric(Protocol):
    """A number from predictions."""

    ascending: ClassVar[bool] = True  # more is better

    def __call__(self, predictions: Any, split: str = "") -> Score:
        """The score of recorded predictions, under the name of the split."""
        ...
