"""Folders of images at any URL: a folder for each class, or images without labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from components.types import Dataset, Examples, File, Run, revision

if TYPE_CHECKING:
    from components.data.decoded import Origin, Row
    from components.data.source import Source

PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}


@revision(1)
@dataclass(frozen=True)
class Folder(Dataset):
    """Class folders of images: `url/class/any/depth/name.jpg`. Classes are the sorted names of the folders, ids the relative names.

    `bad` is the share of unreadable images that are skipped and listed (at least 1, none with 0); beyond it: ValueError.
    """

    url: Annotated[str, "address"]
    bad: float = 0.001
    pinned: Annotated[str, "content"] = ""

    def open(self, run: Run) -> Examples:
        """Decode, or find decoded; ValueError for fewer than two classes or one without images, DataError for other bytes than pinned."""
        from components.data.decoded import Reading, opened
        from components.data.names import is_image, shown
        from components.data.source import Source, identity

        source, where = Source.open(self.url, self.pinned, run), f"Folder {shown(self.url)}"
        files = source.select(lambda name: "/" in name and is_image(name))
        classes = tuple(source.folders())
        counts = dict.fromkeys(classes, 0)
        for file in files:
            if not file.name:
                raise ValueError(f"{where}: is a file; give a folder that holds one folder of images for each class")
            counts[file.name.split("/")[0]] += 1
        if len(classes) < 2:
            found = f"one class folder ({classes[0]})" if classes else "no class folders"
            raise ValueError(f"{where}: {found}; at least 2 are needed, each with the images of one class")
        if set(map(str.lower, classes)) <= PARTS:
            raise ValueError(f"{where}: the folders {', '.join(classes)} are splits, not classes; give one of them, e.g. {classes[0]}")
        if empty := [name for name in classes if not counts[name]]:
            have = ", ".join(f"{name}: {count}" for name, count in list(counts.items())[:10])
            raise ValueError(f"{where}: {len(empty)} class folders have no images, first {empty[0]} ({have}); fill or remove them")
        number = {name: index for index, name in enumerate(classes)}
        ignored = len(source.files) - len(files)
        notes = (f"{ignored} files are not images in a class folder and were passed over",) if ignored else ()
        reading = Reading(where, classes, True, self.bad, notes, size=sum(file.size for file in files))
        labels = [number[file.name.split("/")[0]] for file in files]
        return opened(run, identity(self, files), lambda: image_rows(source, files, labels), reading, files_of(source, files))

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)


@revision(1)
@dataclass(frozen=True)
class Images(Dataset):
    """Images without labels, in one folder at any depth, or one image; ids are the relative names, labels -1."""

    url: Annotated[str, "address"]
    bad: float = 0.001
    pinned: Annotated[str, "content"] = ""

    def open(self, run: Run) -> Examples:
        """Decode, or find decoded; ValueError where there is no image, DataError for other bytes than pinned."""
        from components.data.decoded import Reading, opened
        from components.data.names import is_image, shown
        from components.data.source import Source, identity

        source = Source.open(self.url, self.pinned, run)
        files = source.select(is_image)
        reading = Reading(f"Images {shown(self.url)}", labelled=False, bad=self.bad, size=sum(file.size for file in files))
        return opened(run, identity(self, files), lambda: image_rows(source, files), reading, files_of(source, files))

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)


def image_rows(
    source: Source, files: Sequence[File], labels: Sequence[int] = (), captions: Sequence[tuple[str, ...]] | None = None
) -> Iterator[Row]:
    """Each file as a row, its bytes verified. One that is larger than any image, or has no captions where others have, is not read."""
    from components.data.decode import MOST_BYTES, Unreadable
    from components.data.decoded import Row

    def wrong(number: int) -> str:
        large = f"{files[number].size} bytes, more than {MOST_BYTES}" if files[number].size > MOST_BYTES else ""
        return large if captions is None or captions[number] else "no usable caption"

    contents = source.contents(file for number, file in enumerate(files) if not wrong(number))
    for number, file in enumerate(files):
        image = Unreadable(reason) if (reason := wrong(number)) else next(contents)
        name = file.name or source.root.rsplit("/", 1)[-1]
        yield Row(name, image, labels[number] if labels else None, captions[number] if captions else (), (number, 0))


def files_of(source: Source, files: Sequence[File]) -> Origin:
    """Where images are files, or parts of files as they are."""
    from components.data.decoded import Origin

    def fetch(places: Sequence[tuple[int, int, int]]) -> list[bytes]:
        return source.slices(files, [(number, start, start + size) for number, start, size in places])

    return Origin(fetch, lambda number: source.shown(files[number]))
