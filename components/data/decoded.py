"""Rows of a source, decoded once into memory-mapped files that all trials of a node share.

Images of one size lie as an array [N, H, W, 3], others end to end with offsets and shapes. Where the pixels do not fit into the node's
cache the encoded bytes are kept instead, and decoded on access; where these do not fit either, an index of where they lie in the source.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from components.data import cache, decode
from components.data.columns import Columns, Reading, column
from components.data.examples import Image, Rows, combined
from components.data.streamed import Origin, Streamed, digest
from components.types import Run
from components.weights.threads import cores, ordered

__all__ = ["Origin", "Reading", "Row", "opened"]

FORMAT = 2
BLOCK = 64  # images that a thread decodes at a time, or fewer of more than BYTES
BYTES = 1 << 20
SAMPLE = 4 * BLOCK  # images that tell how large all will be
NAME = "images.bin"


@dataclass(frozen=True, eq=False)
class Row:
    """One example of a source: encoded bytes, an array uint8 [H, W, 1 or 3] or why there is none; the label is an index, a class name or None.

    place: the unit of the source (a file, or a part of one) where the image's bytes lie as they are, and where they begin there; (-1, 0) where
    they lie nowhere.
    """

    id: str
    image: bytes | Image | decode.Unreadable
    label: int | str | None = None
    captions: tuple[str, ...] = ()
    place: tuple[int, int] = (-1, 0)

    @property
    def size(self) -> int:
        """Bytes as it came."""
        return self.image.nbytes if isinstance(self.image, np.ndarray) else len(self.image) if isinstance(self.image, bytes) else 0


def opened(run: Run, identity: str, rows: Callable[[], Iterable[Row]], reading: Reading, origin: Origin | None = None) -> Rows:
    """The examples of a source, from the node's cache or else decoded into it. `rows` may be iterated again.

    ValueError where more than `max(1, bad * n)` images are unreadable (none with bad=0), for labels that make no classes, and for images that
    the cache cannot hold where there is no `origin` to read them from again.
    """
    key = combined(identity, FORMAT, PIL.__version__)

    def load(folder: str) -> Rows:
        return _load(folder, identity, origin, run)

    found = cache.cached(run, f"data-{key}", lambda folder: _build(run, folder, rows, reading, origin), load)
    reading.allows(len(found), found.skipped)
    return found


def _build(run: Run, folder: str, rows: Callable[[], Iterable[Row]], reading: Reading, origin: Origin | None) -> None:
    filling = _Filling(run, folder, reading, origin)
    try:
        while not filling.done:
            filling.begin()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on metadata
                blocks = ordered(lambda: filling.decoded, _blocks(rows()), cores(), 2 * cores())
                filling.done = all(map(filling.add, blocks)) and filling.fits()
                del blocks  # what was begun for nothing ends here
        columns = filling.columns
        reading.allows(len(columns), columns.skipped)
        columns.write(filling.layout(), reading)
    finally:
        filling.close()


def _blocks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    block: list[Row] = []
    room = BYTES
    for row in rows:
        block.append(row)
        room -= row.size
        if len(block) == BLOCK or room <= 0:
            yield block
            block, room = [], BYTES
    if block:
        yield block


@dataclass(frozen=True, eq=False)
class _Decoded:
    """What is kept of a row: the bytes to write and the shape of the image, or why there is none."""

    row: Row
    content: bytes = b""
    shape: tuple[int, ...] = ()
    digest: bytes = b""
    reason: str = ""


class _Filling:
    """A cache folder while it is built; begun as pixels, begun again as encoded bytes, or continued as an index without images."""

    def __init__(self, run: Run, folder: str, reading: Reading, origin: Origin | None) -> None:
        self.run, self.folder, self.reading, self.origin = run, folder, reading, origin
        self.keep, self.done = "pixels", False
        self.file: cache.Growing | None = None

    def begin(self) -> None:
        """From the first row."""
        self.columns = Columns(self.folder)
        self.file = cache.Growing(self.run, os.path.join(self.folder, NAME))
        self.kinds: set[int] = set()  # channels of arrays, 0 for encoded images, -1 for what lies nowhere
        self.came = self.pixels = 0

    def decoded(self, block: Sequence[Row]) -> list[_Decoded]:
        """In any thread."""
        return list(map(self._decoded, block))

    def _decoded(self, row: Row) -> _Decoded:
        image = row.image
        try:
            if isinstance(image, decode.Unreadable):
                raise image
            raw = image.tobytes() if isinstance(image, np.ndarray) else image
            shown = decode.rgb(image) if isinstance(image, np.ndarray) else decode.decode(image)
            decode.check((shown.shape[1], shown.shape[0]))
        except decode.Unreadable as reason:
            return _Decoded(row, reason=str(reason))
        checked = digest(raw) if self.origin else b""
        if self.file is None:
            return _Decoded(row, b"", shown.shape, checked)
        if self.keep == "encoded":
            return _Decoded(row, image if isinstance(image, bytes) else decode.encode(shown), shown.shape, checked)
        return _Decoded(row, shown.tobytes(), shown.shape, checked)

    def add(self, block: Sequence[_Decoded]) -> bool:
        """Write a block, in order; False where all must begin again."""
        for one in block:
            row = one.row
            if one.reason:
                self.columns.skipped.append(f"{row.id}: {one.reason}")
                continue
            self.kinds.add(-1 if row.place[0] < 0 else row.image.shape[2] if isinstance(row.image, np.ndarray) else 0)
            self.columns.add(row.id, row.label, row.captions)
            self.columns.lies(one.shape, len(one.content), row.size, row.place, one.digest)
            self.came, self.pixels = self.came + row.size, self.pixels + one.shape[0] * one.shape[1] * 3
            try:
                if self.file:
                    self._hopeful()
                    self.file.write(one.content)
            except cache.Full:
                if not self._without():
                    return False
        return True

    def fits(self) -> bool:
        """Make room for what is not images as well; False where all must begin again."""
        size = self.columns.size()
        while cache.room(self.run, size) < size:
            if not self.file:
                where, n = self.reading.where, len(self.columns)
                raise ValueError(f"{where}: to know where its {n} examples lie takes {size} bytes of the cache; raise --cache_limit")
            if not self._without():
                return False
        return True

    def _without(self) -> bool:
        """Go on without what does not fit; False where all must begin again, as encoded bytes."""
        begin = self.keep == "pixels" and not (self.origin and self.reading.size > self.run.cache_limit)
        if self.file:
            self.file.abandon()
        self.file, self.keep = None, "encoded"
        if not begin and (self.origin is None or len(self.kinds) > 1 or -1 in self.kinds):
            raise ValueError(
                f"{self.reading.where}: even encoded, its images exceed the cache of {self.run.cache_limit} bytes, and where they lie they cannot be "
                "read one by one; raise --cache_limit, or store them otherwise (WebDataset in plain tars, Parquet, a folder)"
            )
        return not begin

    def _hopeful(self) -> None:
        """Full where the first images say that all will not fit."""
        limit, size = self.run.cache_limit, self.reading.size
        if len(self.columns) == SAMPLE and max(self.came, size) * (self.pixels / self.came if self.keep == "pixels" else 1) > limit:
            raise cache.Full

    def close(self) -> None:
        """No more images."""
        if self.file:
            self.file.close()

    def layout(self) -> dict[str, Any]:
        """How the images lie in the folder, or that they do not."""
        if self.file:
            return {"layout": self.keep}
        return {"layout": "streamed", "channels": max(self.kinds)}


def _load(folder: str, identity: str, origin: Origin | None, run: Run) -> Rows:
    with open(os.path.join(folder, "facts.json")) as file:
        facts = json.load(file)
    names = ["shapes", "offsets", *(["places", "digests"] if facts["layout"] == "streamed" else [])]
    columns = {name: column(folder, name) for name in names}
    pixels: Any
    if facts["layout"] == "streamed":
        assert origin is not None
        pixels = Streamed(columns, facts["channels"], origin, run, folder)
    else:
        flat, shapes = cache.mapped(os.path.join(folder, NAME)), columns["shapes"]
        if facts["layout"] == "encoded":
            pixels = Encoded(flat, columns["offsets"], shapes)
        else:
            equal = bool((shapes == shapes[0]).all())
            pixels = flat.reshape(len(shapes), *shapes[0], 3) if equal else Ragged(flat, columns["offsets"], shapes)
    captions = None
    if facts["captions"]:
        texts = np.memmap(os.path.join(folder, "captions.bin"), np.uint8, "r")
        captions = Texts(texts, column(folder, "texts"), column(folder, "owners"))
    classes, skipped, notes = (tuple(facts[name]) for name in ("classes", "skipped", "notes"))
    return Rows(column(folder, "ids"), column(folder, "labels"), pixels, identity, classes, None, captions, skipped, notes)


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
        ends = range(int(self.owners[index]), int(self.owners[index + 1]))
        return [self.flat[self.texts[i] : self.texts[i + 1]].tobytes().decode() for i in ends]
