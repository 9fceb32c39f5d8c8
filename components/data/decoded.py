"""Rows of a source, decoded once into memory-mapped files that all trials of a node share.

Images of one size lie as an array [N, H, W, 3], others end to end with offsets and shapes. Where the pixels do not fit into the node's
cache the encoded bytes are kept instead, and decoded on access.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from components.data import cache, decode
from components.data.examples import Image, Rows, check_labels, combined
from components.types import Run

FORMAT = 1
BLOCK = 64  # images read and decoded at a time
THREADS = 8  # latency of a remote source; decoding releases the GIL
FIRST = 5  # named in an error


@dataclass(frozen=True, eq=False)
class Row:
    """One example of a source: encoded bytes, an array or how to read the bytes; the label is an index, a class name or None."""

    id: str
    image: bytes | Image | Callable[[], bytes]
    label: int | str | None = None
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What a reader says about its rows: where they come from, class names, whether each must have a label, which share may be unreadable.

    `declared` is asked for class names while decoding, where `classes` has none.
    """

    where: str
    classes: tuple[str, ...] = ()
    labelled: bool = True
    bad: float = 0.001
    notes: tuple[str, ...] = ()
    declared: Callable[[], tuple[str, ...]] = tuple


def opened(run: Run, digest: str, rows: Callable[[], Iterable[Row]], reading: Reading) -> Rows:
    """The examples of a source, from the node's cache or else decoded into it. `rows` may be iterated twice.

    ValueError where more than `max(1, bad * n)` images are unreadable (none with bad=0), and for labels that make no classes.
    """
    key = combined(digest, FORMAT, PIL.__version__)

    found = cache.cached(run, f"data-{key}", lambda folder: _build(run, folder, rows, reading), lambda folder: _load(folder, digest))
    _within(reading, len(found), found.skipped)
    return found


class _Full(Exception):
    """The images do not fit into the cache."""


def _build(run: Run, folder: str, rows: Callable[[], Iterable[Row]], reading: Reading) -> None:
    for keep, wanted in ((False, 0), (False, run.cache_limit), (True, run.cache_limit)):
        columns = _Columns(folder, cache.room(run, wanted), keep)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on metadata
                columns.read(rows())
        except _Full:
            continue
        _within(reading, len(columns.ids), columns.skipped)
        return columns.write(reading)
    raise ValueError(f"{reading.where}: even encoded, its images exceed the {columns.room} bytes left in the cache; raise --cache-limit")


class _Columns:
    """The columns of a cache folder while it is being built; pixels go to disk at once."""

    def __init__(self, folder: str, room: int, keep: bool) -> None:
        self.folder, self.room, self.keep = folder, room, keep
        self.ids: list[str] = []
        self.labels: list[int | str | None] = []
        self.captions: list[tuple[str, ...]] = []
        self.shapes: list[tuple[int, int]] = []
        self.sizes: list[int] = []
        self.skipped: list[str] = []

    def read(self, rows: Iterable[Row]) -> None:
        """Write every readable image, and remember the rest of its row; raises _Full."""
        stream, total = iter(rows), 0
        with open(os.path.join(self.folder, "images.bin"), "wb") as file, ThreadPoolExecutor(THREADS) as pool:
            while block := list(islice(stream, BLOCK)):
                for row, result in zip(block, pool.map(self._fetch, block), strict=True):
                    if isinstance(result, str):
                        self.skipped.append(f"{row.id}: {result}")
                        continue
                    content, shape = result
                    total += len(content)
                    if total > self.room:
                        raise _Full
                    file.write(content)
                    self._add(row, shape, len(content))

    def _fetch(self, row: Row) -> tuple[bytes, tuple[int, int]] | str:
        try:
            content = row.image() if callable(row.image) else row.image
            image = content if isinstance(content, np.ndarray) else decode.decode(content)
            decode.check((image.shape[1], image.shape[0]))
        except decode.Unreadable as reason:
            return str(reason)
        if self.keep:
            return content if isinstance(content, bytes) else decode.encode(image), image.shape[:2]
        return image.tobytes(), image.shape[:2]

    def _add(self, row: Row, shape: tuple[int, int], size: int) -> None:
        self.ids.append(row.id)
        self.labels.append(row.label)
        self.captions.append(row.captions)
        self.shapes.append(shape)
        self.sizes.append(size)

    def write(self, reading: Reading) -> None:
        """Check the labels and write everything but the pixels."""
        if not self.ids:
            raise ValueError(f"{reading.where}: no images; give a source that has some")
        if twice := [name for name, count in Counter(self.ids).items() if count > 1]:
            raise ValueError(f"{reading.where}: {len(twice)} ids appear more than once, first {twice[0]!r}; give each example its own")
        labelled = reading.labelled or any(label is not None for label in self.labels)
        labels, classes = numbered(self.labels, reading) if labelled else (np.full(len(self.ids), -1), ())
        layout = "encoded" if self.keep else "equal" if len(set(self.shapes)) == 1 else "ragged"
        facts = {"layout": layout, "classes": classes, "skipped": self.skipped, "notes": reading.notes, "captions": any(self.captions)}
        columns: dict[str, NDArray[Any]] = {
            "ids": np.array(self.ids),
            "labels": np.asarray(labels, np.int64),
            "shapes": np.array(self.shapes, np.int64),
            "offsets": np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64),
        }
        if any(self.captions):
            texts = [text.encode() for captions in self.captions for text in captions]
            columns["texts"] = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
            columns["owners"] = np.concatenate([[0], np.cumsum([len(captions) for captions in self.captions])]).astype(np.int64)
            with open(os.path.join(self.folder, "captions.bin"), "wb") as file:
                file.writelines(texts)
        for name, column in columns.items():
            np.save(os.path.join(self.folder, f"{name}.npy"), column, allow_pickle=False)
        with open(os.path.join(self.folder, "facts.json"), "w") as file:
            json.dump(facts, file)


def numbered(labels: Sequence[int | str | None], reading: Reading) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels as class indices, and the class names; names are numbered as `classes` has them, or in their sorted order."""
    if missing := sum(label is None for label in labels):
        raise ValueError(f"{reading.where}: {missing} of {len(labels)} images have no label; give each one")
    classes = reading.classes or reading.declared()
    if all(isinstance(label, int) for label in labels):
        numbers = np.array(labels, np.int64)
    else:
        names = [str(label) for label in labels]
        classes = classes or tuple(sorted(set(names)))
        index = {name: number for number, name in enumerate(classes)}
        if unknown := Counter(name for name in names if name not in index):
            listed = ", ".join(f"{name!r}: {count}" for name, count in unknown.most_common(FIRST))
            raise ValueError(f"{reading.where}: labels that are no class ({listed}); the classes are {', '.join(classes[:10])}")
        numbers = np.array([index[name] for name in names], np.int64)
    check_labels(numbers, classes, reading.where)
    return numbers, classes


def _within(reading: Reading, readable: int, skipped: Sequence[str]) -> None:
    total = readable + len(skipped)
    allowed = max(1, int(reading.bad * total)) if reading.bad > 0 else 0
    if len(skipped) > allowed:
        first = "; ".join(skipped[:FIRST])
        raise ValueError(f"{reading.where}: {len(skipped)} of {total} images unreadable, {allowed} allowed ({first}); repair, or raise bad")


def _load(folder: str, digest: str) -> Rows:
    def column(name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(os.path.join(folder, f"{name}.npy"), mmap_mode="r", allow_pickle=False)
        return array

    with open(os.path.join(folder, "facts.json")) as file:
        facts = json.load(file)
    shapes, offsets = column("shapes"), column("offsets")
    flat = np.memmap(os.path.join(folder, "images.bin"), np.uint8, "r")
    pixels: Any
    if facts["layout"] == "equal":
        pixels = flat.reshape(len(shapes), *shapes[0], 3)
    else:
        pixels = (Encoded if facts["layout"] == "encoded" else Ragged)(flat, offsets, shapes)
    captions = None
    if facts["captions"]:
        texts = np.memmap(os.path.join(folder, "captions.bin"), np.uint8, "r")
        captions = Texts(texts, column("texts"), column("owners"))
    classes, skipped, notes = (tuple(facts[name]) for name in ("classes", "skipped", "notes"))
    return Rows(column("ids"), column("labels"), pixels, digest, classes, None, captions, skipped, notes)


@dataclass(frozen=True, eq=False)
class Ragged:
    """Pixels of different sizes, end to end."""

    flat: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    shapes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.shapes)

    def _bytes(self, index: int) -> NDArray[np.uint8]:
        return self.flat[self.offsets[index] : self.offsets[index + 1]]

    def __getitem__(self, index: int) -> Image:
        return self._bytes(index).reshape(*self.shapes[index], 3)


@dataclass(frozen=True, eq=False)
class Encoded(Ragged):
    """Encoded images, end to end, decoded when asked for."""

    def __getitem__(self, index: int) -> Image:
        return decode.decode(self._bytes(index).tobytes())


@dataclass(frozen=True, eq=False)
class Texts(Sequence[Sequence[str]]):
    """Captions of each example, UTF-8 end to end."""

    flat: NDArray[np.uint8]
    texts: NDArray[np.int64]
    owners: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.owners) - 1

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return [self.flat[self.texts[i] : self.texts[i + 1]].tobytes().decode() for i in self._range(int(index))]

    def _range(self, index: int) -> Iterator[int]:
        return iter(range(int(self.owners[index]), int(self.owners[index + 1])))
