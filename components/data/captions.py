"""Captioned images listed in a table: csv, tsv or whatever separates its columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from components.types import Dataset, Examples, Run, revision

SEPARATORS = ("\t", ",", ";", "|")
TABLES = (".csv", ".tsv", ".txt")
FIRST = 5


@revision(1)
@dataclass(frozen=True)
class Captions(Dataset):
    """A table in a folder: a column of image paths relative to the folder, and one of captions; rows of one image are its captions.

    `Captions("s3://b/pets/train.csv")` is `Captions("s3://b/pets", table="train.csv")`: the folder is what is pinned. The separator is the
    one that makes both columns appear in the header. A caption that is empty or not UTF-8 is left out (an image left with none is skipped
    within the budget `bad`), or, with text="replace", undecodable bytes become U+FFFD; both are counted in the notes. Ids are the paths.
    """

    url: Annotated[str, "address"]
    image: str = "filepath"
    caption: str = "title"
    separator: str | None = None
    table: str = ""
    text: Literal["strict", "replace"] = "strict"
    bad: float = 0.001
    pinned: Annotated[str, "content"] = ""

    def __post_init__(self) -> None:
        folder, _, last = self.url.rstrip("/").rpartition("/")
        if not self.table and last.lower().endswith(TABLES):
            object.__setattr__(self, "url", folder or ("/" if self.url.startswith("/") else "."))
            object.__setattr__(self, "table", last)

    def open(self, run: Run) -> Examples:
        """Read, or find in the cache; ValueError with the columns found, or the first 5 paths that are missing."""
        from components.data.decoded import Reading, opened
        from components.data.folder import files_of, image_rows
        from components.data.names import safe, shown
        from components.data.source import Source, identity

        source = Source.open(self.url, self.pinned, run)
        tables = source.select(lambda name: name == self.table if self.table else name.endswith(TABLES[:2]) and "/" not in name)
        if len(tables) != 1 or not tables[0].name:
            named = ", ".join(file.name for file in tables[:FIRST]) or "none"
            raise ValueError(f"Captions {shown(self.url)}: needs one table {self.table}, found {named}; name it with table=")
        where = f"Captions {source.shown(tables[0])}"
        texts, notes = self._texts(source.content(tables[0]), where)
        named_paths = {safe(path, where): captions for path, captions in texts.items()}
        files = {file.name: file for file in source.select(named_paths.__contains__)}
        if missing := [path for path in named_paths if path not in files]:
            first = ", ".join(missing[:FIRST])
            raise ValueError(f"{where}: {len(missing)} of {len(named_paths)} images are missing, first {first}; paths are relative to it")
        images, captions = [files[path] for path in named_paths], list(named_paths.values())
        reading = Reading(where, labelled=False, bad=self.bad, notes=notes, size=sum(file.size for file in images))
        pinned = identity(self, [tables[0], *files.values()])
        return opened(run, pinned, lambda: image_rows(source, images, captions=captions), reading, files_of(source, images))

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)

    def _texts(self, content: bytes, where: str) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
        """{path: captions} in the table's order, and notes on what was left out or replaced."""
        text = content.decode("utf-8-sig", "surrogateescape")
        separator = self.separator or self._separator(text.split("\n", 1)[0].rstrip("\r"), where)
        found: dict[str, tuple[str, ...]] = {}
        empty = broken = 0
        try:
            reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
            for column in (self.image, self.caption):
                if column not in (reader.fieldnames or ()):
                    raise ValueError(f"{where}: no column {column!r}; it has {', '.join(reader.fieldnames or ()) or 'none'}")
            for row in reader:
                path, caption = row[self.image] or "", " ".join((row[self.caption] or "").split())
                undecoded = any("\udc80" <= letter <= "\udcff" for letter in caption)
                broken += undecoded
                if undecoded:
                    caption = caption.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if self.text == "replace" else ""
                elif not caption or caption.lower() == "nan":
                    empty, caption = empty + 1, ""
                found[path] = found.get(path, ()) + ((caption,) if caption else ())
        except csv.Error as error:
            raise ValueError(f"{where}: the row after line {reader.line_num} cannot be read ({error}); repair it") from error
        counted = ((empty, "captions are empty and were left out"), (broken, f"captions are not UTF-8 ({self.text})"))
        return found, tuple(f"{count} {what}" for count, what in counted if count)

    def _separator(self, header: str, where: str) -> str:
        columns = {separator: next(csv.reader([header], delimiter=separator), []) for separator in SEPARATORS}
        for separator, names in columns.items():
            if self.image in names and self.caption in names:
                return separator
        most = max(columns.values(), key=len)
        found = ", ".join(most) or "none"
        raise ValueError(f"{where}: no columns {self.image!r} and {self.caption!r}; it has {found}; set image= and caption=")
