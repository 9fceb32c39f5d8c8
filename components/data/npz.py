"""Arrays of images in one numpy archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from components.types import DataError, Dataset, Examples, Run, revision

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from components.data.decoded import Row


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
        from components.data.names import shown
        from components.data.source import Source, identity

        where = f"Npz {shown(self.url)}"
        source = Source.open(self.url, self.pinned, run)
        files = source.select(lambda name: False)
        if len(files) != 1:
            raise ValueError(f"{where}: is a folder; give the address of one .npz file")

        def rows() -> Iterator[Row]:
            with source.local(files[0]) as path:
                yield from self._rows(path, where, run.cache_limit)

        return opened(run, identity(self, files), rows, Reading(where, self.classes))

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)

    def _rows(self, path: str, where: str, limit: int) -> Iterator[Row]:
        import numpy as np

        from components.data.decoded import Row

        images, labels = _arrays(path, (self.images, self.labels), where, limit)
        if images.ndim == 3:
            images = images[..., None]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
            raise ValueError(f"{where}: {self.images} is {images.dtype} {list(images.shape)}; give uint8 [N, H, W] or [N, H, W, 3]")
        labels = labels.reshape(-1) if labels.shape == (len(labels), 1) else labels
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise ValueError(f"{where}: {self.labels} is {labels.dtype} {list(labels.shape)}; give {len(images)} integers")
        width = len(str(len(labels) - 1))
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield Row(f"{self.images}/{number:0{width}d}", np.broadcast_to(image, (*image.shape[:2], 3)), int(label))


def _arrays(path: str, names: tuple[str, ...], where: str, limit: int) -> list[NDArray[Any]]:
    import zipfile
    import zlib

    import numpy as np

    if not zipfile.is_zipfile(path):
        raise DataError(f"{where}: is not an .npz file, or cut short; give an archive of images and labels")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if missing := [name for name in names if name not in archive.files]:
                raise ValueError(f"{where}: no array {missing[0]}; it has {', '.join(archive.files[:20])}")
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.zip.infolist()}
            if (size := sum(sizes[name] for name in names)) > limit:
                raise ValueError(f"{where}: unpacks to {size} bytes, more than --cache-limit {limit}; raise it or use Parquet")
            return [_array(archive, name, where) for name in names]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{where}: is damaged ({error}); fetch it again") from error


def _array(archive: Any, name: str, where: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = archive[name]
    except ValueError as error:
        raise DataError(f"{where}: {name} is a pickled object or damaged; save plain arrays") from error
    return array
