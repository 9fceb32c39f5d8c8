"""Opened examples: ids, labels and captions in memory or memory-mapped, pixels by index."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from components.types import Examples

Image = NDArray[np.uint8]


class Pixels(Protocol):
    """Images by index, uint8 [H, W, 3]; an array [N, H, W, 3] is one. Those that are read from afar have `many(indices)` too."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(eq=False)
class Rows(Examples):
    """Examples whose columns are arrays; `notes` says what was read with a policy (replaced text, ignored files).

    columns: for each class the rows that stand for it in a head of `width` classes; () where the classes are a head's own.
    """

    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    pixels: Pixels
    digest: str
    classes: tuple[str, ...] = ()
    groups: NDArray[np.int64] | None = None
    captions: Sequence[Sequence[str]] | None = None
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    columns: tuple[tuple[int, ...], ...] = ()
    width: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def images(self, indices: Iterable[int]) -> list[Image]:
        return several(self.pixels, np.fromiter(indices, np.int64))

    def take(self, indices: NDArray[np.int64], how: str) -> Rows:
        """The examples at `indices`, in that order; `how` names the choice and makes the new digest."""
        return replace(
            self,
            ids=self.ids[indices],
            labels=self.labels[indices],
            pixels=Taken(self.pixels, indices),
            groups=None if self.groups is None else self.groups[indices],
            captions=None if self.captions is None else Chosen(self.captions, indices),
            digest=combined(self.digest, how),
        )


def several(pixels: Pixels, indices: NDArray[np.int64]) -> list[Image]:
    """Images at some indices, all at once where they are read from afar."""
    many = getattr(pixels, "many", None)
    return many(indices) if many else [pixels[int(index)] for index in indices]


def beneath(pixels: Any, indices: NDArray[np.int64]) -> Iterator[tuple[Any, NDArray[np.int64]]]:
    """The pixels that images are made of in the end, and at which indices of theirs."""
    if not hasattr(pixels, "under"):
        yield pixels, indices
        return
    for lower, chosen, _ in pixels.under(indices):
        yield from beneath(lower, chosen)


def rows(examples: Examples) -> Rows:
    """Any opened dataset as `Rows`."""
    return examples if isinstance(examples, Rows) else Rows(
        examples.ids, examples.labels, Fetched(examples), examples.digest, examples.classes, examples.groups, examples.captions,
        examples.skipped, (), examples.columns, examples.width,
    )


@dataclass(frozen=True, eq=False)
class Fetched:
    """The pixels of examples that are not `Rows`."""

    examples: Examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Image:
        return self.examples.images([index])[0]

    def many(self, indices: NDArray[np.int64]) -> list[Image]:
        return list(self.examples.images(indices.tolist()))


class Derived:
    """Pixels made of others: `under(indices)` says of which, and at what places of the answer."""

    def under(self, indices: NDArray[np.int64]) -> Iterator[tuple[Pixels, NDArray[np.int64], NDArray[np.int64]]]:
        raise NotImplementedError

    def many(self, indices: NDArray[np.int64]) -> list[Image]:
        found: dict[int, Image] = {}
        for pixels, chosen, places in self.under(indices):
            found.update(zip(places.tolist(), several(pixels, chosen), strict=True))
        return [found[place] for place in range(len(indices))]

    def __getitem__(self, index: int) -> Image:
        return self.many(np.array([index]))[0]


@dataclass(frozen=True, eq=False)
class Taken(Derived):
    """Pixels at chosen indices."""

    pixels: Pixels
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def under(self, indices: NDArray[np.int64]) -> Iterator[tuple[Pixels, NDArray[np.int64], NDArray[np.int64]]]:
        yield self.pixels, self.indices[indices], np.arange(len(indices))


@dataclass(frozen=True, eq=False)
class Changed(Derived):
    """Pixels passed through `change(image, id)` when they are asked for."""

    pixels: Pixels
    ids: NDArray[np.str_]
    change: Callable[[Image, str], Image]

    def __len__(self) -> int:
        return len(self.pixels)

    def under(self, indices: NDArray[np.int64]) -> Iterator[tuple[Pixels, NDArray[np.int64], NDArray[np.int64]]]:
        yield self.pixels, indices, np.arange(len(indices))

    def many(self, indices: NDArray[np.int64]) -> list[Image]:
        return [self.change(image, str(self.ids[index])) for image, index in zip(super().many(indices), indices, strict=True)]


@dataclass(frozen=True, eq=False)
class Joined(Derived):
    """Several pixels, one after another."""

    parts: tuple[Pixels, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def under(self, indices: NDArray[np.int64]) -> Iterator[tuple[Pixels, NDArray[np.int64], NDArray[np.int64]]]:
        edges = np.cumsum([0, *map(len, self.parts)])
        if len(indices) and not 0 <= indices.min() <= indices.max() < edges[-1]:
            raise IndexError(indices)
        for part, low, high in zip(self.parts, edges, edges[1:], strict=False):
            places = np.flatnonzero((low <= indices) & (indices < high))
            if len(places):
                yield part, indices[places] - low, places


@dataclass(frozen=True, eq=False)
class Chosen(Sequence[Sequence[str]]):
    """Captions at chosen indices."""

    captions: Sequence[Sequence[str]]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        return self.captions[int(self.indices[index])]


def combined(*parts: Any) -> str:
    """A content identity from others: sha256 of the canonical JSON of the parts, hex."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_labels(labels: NDArray[np.int64], classes: Sequence[str], where: str) -> None:
    """Refuse labels that no classifier can be trained on (none, one class, negative, out of range, with gaps): ValueError with counts."""
    if len(labels) == 0:
        raise ValueError(f"{where}: no images; give a source that has some")
    counts = Counter(labels.tolist())
    have = ", ".join(f"{label}: {count}" for label, count in sorted(counts.items())[:10])
    if min(counts) < 0:
        raise ValueError(f"{where}: labels are negative (lowest {min(counts)}; counts {have}); number the classes from 0")
    size = len(classes) or max(counts) + 1
    if max(counts) >= size:
        raise ValueError(f"{where}: labels are out of range (highest {max(counts)} of {size} classes; counts {have}); name every class")
    if size < 2:
        raise ValueError(f"{where}: one class (counts {have}); a classifier needs at least 2")
    if len(counts) < size:
        first = next(label for label in range(size) if label not in counts)
        named = f"{first} ({classes[first]})" if classes else first
        raise ValueError(f"{where}: {size - len(counts)} of {size} classes have no images, first {named} (counts {have}); leave no gaps")
