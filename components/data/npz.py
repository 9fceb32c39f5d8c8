"""Arrays of images in one numpy archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Annotated, Any

from components.types import DataError, Dataset, Examples, Run, revision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.data.decoded import Row
    from components.data.stream import Stream

MOST = 1 << 30  # bytes of labels


@revision(1)
@dataclass(frozen=True)
class Npz(Dataset):
    """An .npz file: images uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3] and integer labels [N] or [N, 1]. Ids are "{images}/{number}"."""

    url: Annotated[str, "address"]
    images: str = "images"
    labels: str = "labels"
    classes: tuple[str, ...] = ()
    pinned: Annotated[str, "content"] = ""

    def open(self, run: Run) -> Examples:
        """Read, or find in the cache; ValueError for a missing array or another shape or dtype, DataError for a damaged file."""
        from components.data.decoded import Reading, opened
        from components.data.folder import files_of
        from components.data.names import shown
        from components.data.source import Source, identity

        where = f"Npz {shown(self.url)}"
        source = Source.open(self.url, self.pinned, run)
        files = source.select(lambda name: False)
        if len(files) != 1:
            raise ValueError(f"{where}: is a folder; give the address of one .npz file")

        def rows() -> Iterator[Row]:
            for _, stream in source.streams(files):
                with stream:
                    yield from self._rows(stream, where)

        return opened(run, identity(self, files), rows, Reading(where, self.classes), files_of(source, files))

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)

    def _rows(self, stream: Stream, where: str) -> Iterator[Row]:
        import lzma
        import zipfile
        import zlib

        if not zipfile.is_zipfile(stream):
            raise DataError(f"{where}: is not an .npz file, or cut short; give an archive of images and labels")
        try:
            with zipfile.ZipFile(stream) as archive:
                there = {name.removesuffix(".npy"): name for name in archive.namelist()}
                if missing := [name for name in (self.images, self.labels) if name not in there]:
                    raise ValueError(f"{where}: no array {missing[0]}; it has {', '.join(list(there)[:20])}")
                with archive.open(there[self.labels]) as file:
                    labels = _array(file, self.labels, where)
                info = archive.getinfo(there[self.images])
                begin = _begin(stream, info.header_offset) if info.compress_type == zipfile.ZIP_STORED else -1
                with archive.open(info) as file:
                    yield from self._examples(file, labels, begin, where)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError) as error:
            raise DataError(f"{where}: is damaged ({error}); fetch it again") from error

    def _examples(self, file: IO[bytes], labels: NDArray[Any], begin: int, where: str) -> Iterator[Row]:
        """The images one after another, each where it begins in the archive if that is known."""
        import numpy as np

        from components.data.decoded import Row

        shape, across, dtype = _header(file, self.images, where)
        plain = (*shape, 1) if len(shape) == 3 else shape
        if dtype != np.uint8 or len(plain) != 4 or plain[3] not in (1, 3):
            raise ValueError(f"{where}: {self.images} is {dtype} {list(shape)}; give uint8 [N, H, W] or [N, H, W, 3]")
        labels = labels.reshape(-1) if labels.shape == (len(labels), 1) else labels
        if labels.dtype.kind not in "iu" or labels.shape != plain[:1]:
            raise ValueError(f"{where}: {self.labels} is {labels.dtype} {list(labels.shape)}; give {plain[0]} integers")
        if across:  # one image's pixels are not neighbours
            raise ValueError(f"{where}: {self.images} is in Fortran's order; save numpy.ascontiguousarray of it")
        width, size, start = len(str(len(labels) - 1)), plain[1] * plain[2] * plain[3], begin + file.tell()
        for number, label in enumerate(labels):
            content = file.read(size)
            if len(content) < size:
                raise EOFError(f"{self.images} ends after {number} images of {len(labels)}")
            image = np.frombuffer(content, np.uint8).reshape(plain[1:])
            place = (0, start + number * size) if begin >= 0 else (-1, 0)
            yield Row(f"{self.images}/{number:0{width}d}", image, int(label), place=place)
        file.read(1)  # the checksum is compared at the end


def _begin(stream: Stream, header: int) -> int:
    """Where the bytes of a member begin: after its own header, whose names may be longer than those of the directory."""
    stream.seek(header)
    local = stream.read(30)
    return header + 30 + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")


def _header(file: IO[bytes], name: str, where: str) -> tuple[tuple[int, ...], bool, Any]:
    """(shape, Fortran's order, dtype) of an array without objects."""
    from numpy.lib import format

    try:
        version = format.read_magic(file)
        read = format.read_array_header_1_0 if version == (1, 0) else format.read_array_header_2_0
        shape, across, dtype = read(file)
    except ValueError as error:
        raise DataError(f"{where}: {name} is no array; save plain arrays") from error
    if dtype.hasobject:
        raise DataError(f"{where}: {name} is a pickled object or damaged; save plain arrays")
    return shape, across, dtype


def _array(file: IO[bytes], name: str, where: str) -> NDArray[Any]:
    import numpy as np

    shape, across, dtype = _header(file, name, where)
    content = file.read(MOST + 1)
    if len(content) > MOST or len(content) != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise DataError(f"{where}: {name} has not the {list(shape)} values of its header; fetch it again")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if across else "C")
