"""The columns of a source while it is read, and as files that a process maps: arrays and flat bytes, never an object for each example."""

from __future__ import annotations

import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.examples import check_labels

BLOCK = 1 << 14  # ids that are strings at a time
FIRST = 5  # named in an error


@dataclass(frozen=True)
class Reading:
    """What a reader says about its rows: where they come from, class names, whether each must have a label, which share may be unreadable.

    `declared` is asked for class names while decoding, where `classes` has none. `size`: bytes of the files, 0 where nobody knows.
    """

    where: str
    classes: tuple[str, ...] = ()
    labelled: bool = True
    bad: float = 0.001
    notes: tuple[str, ...] = ()
    declared: Callable[[], tuple[str, ...]] = tuple
    size: int = 0

    def allows(self, readable: int, skipped: Sequence[str]) -> None:
        """ValueError where more than the share `bad` of the images is unreadable (at least 1 may be, none with 0)."""
        total = readable + len(skipped)
        allowed = max(1, int(self.bad * total)) if self.bad > 0 else 0
        if len(skipped) > allowed:
            first = "; ".join(skipped[:FIRST])
            raise ValueError(f"{self.where}: {len(skipped)} of {total} images unreadable, {allowed} allowed ({first}); repair, or raise bad")


class Columns:
    """Ids, labels, captions, shapes and whereabouts of the readable rows: about 80 bytes a row and the bytes of its id."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.ids, self.ends, self.hashes = bytearray(), array("q"), array("q")
        self.known: dict[int | str | None, int] = {}  # labels, numbered as they come
        self.labels, self.shapes, self.kept, self.came, self.places = (array("q") for _ in range(5))
        self.digests = bytearray()
        self.captions, self.texts, self.owners = bytearray(), array("q"), array("q")
        self.skipped: list[str] = []

    def __len__(self) -> int:
        return len(self.labels)

    def add(self, name: str, label: int | str | None, captions: Sequence[str]) -> None:
        """A row's facts."""
        self.ids += name.encode("utf-8", "surrogatepass")
        self.ends.append(len(self.ids))
        self.hashes.append(hash(name))
        self.labels.append(self.known.setdefault(label, len(self.known)))
        for text in captions:
            self.captions += text.encode("utf-8", "replace")
            self.texts.append(len(self.captions))
        self.owners.append(len(self.texts))

    def lies(self, shape: Sequence[int], kept: int, came: int, place: tuple[int, int], digest: bytes) -> None:
        """The shape of the row's image, how many bytes of it are kept, how many came, and where in the source these lie with which digest."""
        self.shapes.extend(shape[:2])
        self.kept.append(kept)
        self.came.append(came)
        self.places.extend(place)
        self.digests += digest

    def size(self) -> int:
        """About how many bytes `write` takes."""
        width = max(high - low for low, high in zip([0, *self.ends[:-1]], self.ends, strict=True)) if len(self) else 0
        return len(self) * (8 + 8 + 16 + 16 + 16 + 8 + 4 * width) + len(self.captions) + 8 * len(self.texts) + (1 << 12)

    def names(self) -> Iterator[list[str]]:
        """The ids, some at a time."""
        start = 0
        for at in range(0, len(self), BLOCK):
            ends = self.ends[at : at + BLOCK]
            yield [self.ids[low:high].decode("utf-8", "surrogatepass") for low, high in zip([start, *ends[:-1]], ends, strict=True)]
            start = ends[-1]

    def write(self, layout: dict[str, Any], reading: Reading) -> None:
        """Check ids and labels, and write everything but the images; `layout` says how these lie."""
        if not len(self):
            raise ValueError(f"{reading.where}: no images; give a source that has some")
        if len(np.unique(_array(self.hashes))) < len(self):
            self._unique(reading)
        labelled = reading.labelled or set(self.known) != {None}
        labels, classes = self._numbered(reading) if labelled else (np.full(len(self), -1), ())
        captioned = len(self.texts) > 0
        facts = {**layout, "classes": classes, "skipped": self.skipped, "notes": reading.notes, "captions": captioned}
        streamed = layout["layout"] == "streamed"
        offsets = _edges(self.came if streamed else self.kept)
        columns: dict[str, NDArray[Any]] = {"labels": labels, "shapes": _array(self.shapes).reshape(-1, 2), "offsets": offsets}
        if streamed:
            columns["places"] = _array(self.places).reshape(-1, 2)
            columns["digests"] = np.frombuffer(self.digests, np.uint8).reshape(len(self), -1)
        if captioned:
            columns |= {"texts": _edges(self.texts, total=False), "owners": _edges(self.owners, total=False)}
            with open(os.path.join(self.folder, "captions.bin"), "wb") as texts:
                texts.write(self.captions)
        for name, column in columns.items():
            np.save(os.path.join(self.folder, f"{name}.npy"), column, allow_pickle=False)
        width = max(max(map(len, block)) for block in self.names())
        ids = np.lib.format.open_memmap(os.path.join(self.folder, "ids.npy"), "w+", np.dtype(("U", max(1, width))), (len(self),))
        for number, block in enumerate(self.names()):
            ids[number * BLOCK : number * BLOCK + len(block)] = block
        ids.flush()
        with open(os.path.join(self.folder, "facts.json"), "w") as file:
            json.dump(facts, file)

    def _unique(self, reading: Reading) -> None:
        counts = Counter(name for block in self.names() for name in block)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise ValueError(f"{reading.where}: {len(twice)} ids appear more than once, first {twice[0]!r}; give each example its own")

    def _numbered(self, reading: Reading) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Labels as class indices, and the class names; names are numbered as `classes` has them, or in their sorted order."""
        codes, kinds = _array(self.labels), list(self.known)
        if None in self.known:
            missing = int((codes == self.known[None]).sum())
            raise ValueError(f"{reading.where}: {missing} of {len(codes)} images have no label; give each one")
        classes = reading.classes or reading.declared()
        if all(isinstance(kind, int) for kind in kinds):
            numbers = np.array(kinds, np.int64)
        else:
            names = [str(kind) for kind in kinds]
            classes = classes or tuple(sorted(set(names)))
            index = {name: number for number, name in enumerate(classes)}
            if any(name not in index for name in names):
                counts = zip(names, np.bincount(codes).tolist(), strict=True)
                unknown = Counter({name: count for name, count in counts if name not in index})
                listed = ", ".join(f"{name!r}: {count}" for name, count in unknown.most_common(FIRST))
                raise ValueError(f"{reading.where}: labels that are no class ({listed}); the classes are {', '.join(classes[:10])}")
            numbers = np.array([index[name] for name in names], np.int64)
        check_labels(numbers[codes], classes, reading.where)
        return numbers[codes], classes


def _array(values: array[int]) -> NDArray[np.int64]:
    return np.frombuffer(values, np.int64) if len(values) else np.empty(0, np.int64)


def _edges(values: array[int], total: bool = True) -> NDArray[np.int64]:
    """0 and the sums so far of sizes, or 0 and the ends as they are."""
    found = _array(values)
    return np.concatenate([[0], np.cumsum(found) if total else found]).astype(np.int64)


def column(folder: str, name: str) -> NDArray[Any]:
    """A column, mapped."""
    found: NDArray[Any] = np.load(os.path.join(folder, f"{name}.npy"), mmap_mode="r", allow_pickle=False)
    return found
