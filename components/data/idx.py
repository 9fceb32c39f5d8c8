"""MNIST's file format (IDX): MNIST, Fashion-MNIST, EMNIST and their kin."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from components.types import DataError, Dataset, Examples, Run, revision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@revision(1)
@dataclass(frozen=True)
class Idx(Dataset):
    """Images and labels in two IDX files of one folder, plain or .gz; grey images become RGB. Ids are "{images}/{number}".

    `Idx("d/images.gz", "d/labels.gz")` is `Idx("images.gz", "labels.gz", url="d")`: the folder is what is pinned.
    """

    images: str
    labels: str
    classes: tuple[str, ...] = ()
    url: Annotated[str, "address"] = ""
    pinned: Annotated[str, "content"] = ""

    def __post_init__(self) -> None:
        if not self.url:
            folders, names = zip(*(path.rpartition("/")[::2] for path in (self.images, self.labels)), strict=True)
            if folders[0] != folders[1]:
                raise ValueError(f"Idx: {self.images} and {self.labels} lie in different folders; put both into one")
            for field, value in (("url", folders[0] or "."), ("images", names[0]), ("labels", names[1])):
                object.__setattr__(self, field, value)

    def open(self, run: Run) -> Examples:
        """Read, or find in the cache; ValueError where a file is missing or the two do not match, DataError where one is damaged."""
        from components.data.decoded import Reading, Row, opened
        from components.data.names import safe, shown
        from components.data.source import Source, identity

        where = f"Idx {shown(self.url)}"
        source = Source.open(self.url, self.pinned, run)
        names = [safe(name, where) for name in (self.images, self.labels)]
        files = {file.name: file for file in source.select(names.__contains__)}
        if missing := [name for name in names if name not in files]:
            there = ", ".join(file.name for file in source.files[:10])
            raise ValueError(f"{where}: no {missing[0]}; the folder has {there}")

        def rows() -> Iterator[Row]:
            images, labels = (parse(source.content(files[name]), source.shown(files[name])) for name in names)
            if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
                raise ValueError(f"{where}: images {images.shape} and labels {labels.shape} do not match; name the two files of one set")
            stem, width = self.images.removesuffix(".gz"), len(str(len(labels) - 1))
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield Row(f"{stem}/{number:0{width}d}", image[..., None], int(label))

        return opened(run, identity(self, files.values()), rows, Reading(where, self.classes))

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)


def parse(content: bytes, where: str) -> NDArray[np.uint8]:
    """The uint8 array in an IDX file: two zeros, type 8, the number of axes, their lengths as big-endian int32, the bytes."""
    import numpy as np

    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{where}: is damaged ({error}); fetch it again") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(f"{where}: is not an IDX file of bytes; give MNIST's format")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"{where}: ends within its header; fetch it again")
    shape = struct.unpack(f">{content[3]}i", content[4:start])
    if min(shape, default=0) < 0 or len(content) - start != int(np.prod(shape, dtype=object)):
        raise DataError(f"{where}: has {len(content) - start} bytes where its header says {shape}; fetch it again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
