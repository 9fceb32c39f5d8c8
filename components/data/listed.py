"""Images at a URL whose labels are known before any is decoded: by folder, or from a table beside them."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from components.types import Dataset, Examples, File, Run

if TYPE_CHECKING:
    from components.data.examples import Rows
    from components.data.source import Source

FIRST = 5  # named in an error
Columns = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Listing:
    """The files of a dataset in their order, undecoded, each with its label and perhaps a group.

    columns: for each class the rows of a head of `width` classes that stand for it, () where the classes are a head's own. prefix: of the
    ids, which else are the files' names. tables: further files that the labels come from.
    """

    source: Source
    where: str
    files: tuple[File, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    groups: tuple[int, ...] = ()
    columns: Columns = ()
    width: int = 0
    prefix: str = ""
    tables: tuple[File, ...] = ()
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """How many files each class has, zeros included."""
        found = Counter(self.labels)
        return {f"{name}" if self.classes.count(name) == 1 else f"{name} ({k})": found[k] for k, name in enumerate(self.classes)}

    def full(self) -> Listing:
        """Itself. ValueError where a class has no file: a download is incomplete, or files were moved."""
        if empty := [name for name, count in self.counts().items() if not count]:
            raise ValueError(
                f"{self.where}: {len(empty)} of {len(self.classes)} classes have no images, first {', '.join(empty[:FIRST])}; complete the download"
            )
        return self

    def some(self, n: int) -> Listing:
        """At most n of the files, those with the smallest hash of their ids, as `Sample` has it."""
        import numpy as np

        from components.data import chance

        order = np.argsort(chance.position(self.prefix + file.name for file in self.files), kind="stable")[:n]
        chosen = np.sort(order).tolist()
        files, labels, groups = (tuple(column[k] for k in chosen) if column else () for column in (self.files, self.labels, self.groups))
        return replace(self, files=files, labels=labels, groups=groups)

    def opened(self, reader: Dataset, run: Run, bad: float) -> Rows:
        """The examples, decoded or found decoded. ValueError beyond the share `bad` of unreadable images, DataError for other bytes than pinned."""
        import numpy as np

        from components.data.decoded import Reading, Row, opened
        from components.data.folder import files_of, image_rows
        from components.data.source import identity

        if not self.files:
            raise ValueError(f"{self.where}: no images; give a source that has some")
        wanted = {file.name for file in (*self.files, *self.tables)}
        known = {file.name: file for file in self.source.select(wanted.__contains__)}
        files = [known[file.name] for file in self.files]
        reading = Reading(self.where, labelled=False, bad=bad, notes=self.notes, size=sum(file.size for file in files))

        def rows() -> Iterator[Row]:
            return (replace(row, id=self.prefix + row.id) for row in image_rows(self.source, files))

        key = identity(reader, [*files, *(known[file.name] for file in self.tables)])
        found = opened(run, key, rows, reading, files_of(self.source, files))
        number = {self.prefix + file.name: k for k, file in enumerate(self.files)}
        places = [number[name] for name in found.ids.tolist()]  # unreadable ones are left out
        labels, groups = (np.array(column, np.int64)[places] if column else None for column in (self.labels, self.groups))
        assert labels is not None
        return replace(found, labels=labels, groups=groups, classes=self.classes, columns=self.columns, width=self.width)


class Listed(Dataset):
    """A dataset whose `listing` says what there is without reading an image."""

    bad: float

    @abstractmethod
    def listing(self, run: Run) -> Listing:
        """What there is; ValueError where it is not laid out as published."""

    def open(self, run: Run) -> Examples:
        """Decode, or find decoded."""
        return self.listing(run).opened(self, run, self.bad)

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)


def in_folders(source: Source, depth: int = 0) -> list[tuple[str, File]]:
    """(folder, file) of each image at any depth below a folder; `depth` is the place of that folder in the name."""
    from components.data.names import is_image

    split = ((file.name.split("/"), file) for file in source.files)
    return [(parts[depth], file) for parts, file in split if len(parts) > depth + 1 and is_image(file.name)]


def differing(found: Sequence[str], wanted: Sequence[str], what: str) -> str:
    """How one list of names differs from the one that it should be, "" where it does not."""
    missing, further = (sorted(set(a) - set(b)) for a, b in ((wanted, found), (found, wanted)))
    told = [f"{len(missing)} of {len(wanted)} {what} are missing, first {', '.join(missing[:FIRST])}"] if missing else []
    told += [f"{len(further)} are none of them, first {', '.join(further[:FIRST])}"] if further else []
    return "; ".join(told)
