"""Parquet tables of images: one file or many, as Hugging Face datasets and pandas write them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

from components.types import DataError, Dataset, Examples, File, Run, revision

if TYPE_CHECKING:
    from components.data.decoded import Row
    from components.data.source import Source
    from components.data.stream import Stream

BATCH = 256  # rows in memory at a time
BUFFER = 1 << 20
GROUPS = 24  # bits of a unit's number that tell the row group in its file


@revision(1)
@dataclass(frozen=True)
class Parquet(Dataset):
    """Rows of a .parquet file or of all in a folder: an image column (encoded bytes, {bytes, path}, or nested lists [H][W] or [H][W][3] of
    0..255), a label column (integers or class names) and optionally an id column; else ids are "{file}/{row}".

    Class names come from `classes`, from a Hugging Face ClassLabel in the schema, or are the sorted label strings. `bad`: as in `Folder`.
    """

    url: Annotated[str, "address"]
    image: str = "image"
    label: str = "label"
    id: str = ""
    classes: tuple[str, ...] = ()
    bad: float = 0.001
    pinned: Annotated[str, "content"] = ""

    def open(self, run: Run) -> Examples:
        """Read, or find in the cache; ValueError with the columns found where one is missing, DataError for a damaged file."""
        from components.data.decoded import Origin, Reading, opened
        from components.data.names import shown
        from components.data.source import Source, identity

        where = f"Parquet {shown(self.url)}"
        source = Source.open(self.url, self.pinned, run)
        files = source.select(lambda name: name.endswith((".parquet", ".pq")))
        if not files:
            raise ValueError(f"{where}: no .parquet file among {len(source.files)}; check the path")
        size = sum(file.size for file in files)
        reading = Reading(where, self.classes, bad=self.bad, declared=lambda: self._declared(source, files[0]), size=size)
        origin = Origin(lambda places: self._again(source, files, places), lambda unit: source.shown(files[unit >> GROUPS]), whole=True)
        return opened(run, identity(self, files), lambda: self._all(source, files), reading, origin)

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)

    def _declared(self, source: Source, file: File) -> tuple[str, ...]:
        """Class names that the schema of a Hugging Face dataset declares."""
        import pyarrow.parquet

        metadata = pyarrow.parquet.read_schema(source.ranged(file)).metadata or {}
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        return tuple(features.get(self.label, {}).get("names") or ())

    def _all(self, source: Source, files: Sequence[File]) -> Iterator[Row]:
        for number, (file, stream) in enumerate(source.streams(files)):
            with stream:
                yield from self._rows(stream, number, file.name, source.shown(file))

    def _rows(self, stream: Stream, file: int, name: str, shown: str) -> Iterator[Row]:
        import pyarrow
        import pyarrow.parquet

        from components.data.decoded import Row

        names, number = [name for name in (self.image, self.label, self.id) if name], 0
        try:
            with pyarrow.parquet.ParquetFile(stream, buffer_size=BUFFER) as table:
                if missing := [name for name in names if name not in table.schema_arrow.names]:
                    raise ValueError(f"{shown}: no column {missing[0]!r}; it has {', '.join(table.schema_arrow.names[:20])}")
                for group in range(table.num_row_groups):
                    first = number
                    for batch in table.iter_batches(BATCH, row_groups=[group], columns=names):
                        columns = [batch.column(name).to_pylist() for name in names]
                        for image, label, *given in zip(*columns, strict=True):
                            own = str(given[0]) if given else f"{name}/{number:07d}".lstrip("/")
                            yield Row(own, _image(image), _label(label, shown), place=(file << GROUPS | group, number - first))
                            number += 1
        except pyarrow.ArrowInvalid as error:
            raise DataError(f"{shown}: is damaged ({_line(error)}); fetch it again") from error

    def _again(self, source: Source, files: Sequence[File], places: Sequence[tuple[int, int, int]]) -> list[bytes]:
        """The images of some rows, as bytes; the row groups that they are in are read whole, and nothing is verified."""
        import pyarrow
        import pyarrow.parquet

        found: list[bytes] = []
        for unit, some in groupby(places, key=itemgetter(0)):
            file = files[unit >> GROUPS]
            try:
                with pyarrow.parquet.ParquetFile(source.ranged(file)) as table:
                    column = table.read_row_group(unit & ((1 << GROUPS) - 1), columns=[self.image]).column(0)
                images = [_image(column[row].as_py()) for _, row, _ in some]
            except (pyarrow.ArrowInvalid, IndexError) as error:
                raise DataError(f"{source.shown(file)}: its content is not what was pinned; run again to pin the data anew") from error
            found += [image if isinstance(image, bytes) else image.tobytes() for image in images]
        return found


def _image(value: Any) -> Any:
    """Encoded bytes, or an array uint8 [H, W, 1 or 3] from nested lists; empty bytes where there is neither."""
    import numpy as np

    if isinstance(value, dict):
        value = value.get("bytes")
    if not isinstance(value, list):
        return value if isinstance(value, bytes) else b""
    try:
        array = np.asarray(value, np.int64)
    except (TypeError, ValueError):  # ragged, or not numbers
        return b"not an image"
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3) or array.min(initial=0) < 0 or array.max(initial=0) > 255:
        return b"not an image"
    return array.astype(np.uint8)


def _label(value: Any, where: str) -> int | str | None:
    if value is None or (isinstance(value, int | str) and not isinstance(value, bool)):
        return value
    raise ValueError(f"{where}: a label is {type(value).__name__} {value!r}; give integers or class names")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
