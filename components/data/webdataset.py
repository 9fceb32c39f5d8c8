"""Tars of numbered files, as webdataset and img2dataset write them."""

from __future__ import annotations

import io
import json
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import IO, TYPE_CHECKING, Annotated, Any

from components.types import DataError, Dataset, Examples, Run, revision

if TYPE_CHECKING:
    from components.data.decoded import Row
    from components.data.stream import Stream

EVERY = "*.tar*"
LABELS, CAPTIONS = ("cls", "label", "class"), ("caption", "text", "txt")
LARGEST_TEXT = 1 << 20
FIRST = 5
BUFFER = 1 << 20
NO_IMAGE = "no image"
HEADER = 512
OCTAL = re.compile(b"[0-7]+")


@revision(1)
@dataclass(frozen=True)
class WebDataset(Dataset):
    """Tars in a folder: files that share a name up to its first dot are one example, its image beside .cls, .txt or .json.

    The label is .cls (a number or a class name) or "cls" or "label" in .json, the caption .txt or "caption" or "text" in .json. The url is
    a tar, a folder, of which all tars at any depth are read, or ends in a pattern such as `train-*.tar` or `train-{000..012}.tar`, which moves
    to `pattern`: then nothing else in that folder is looked at. Ids are "{tar}/{name}".
    `bad`: as in `Folder`; damaged texts count as unreadable images do.
    """

    url: Annotated[str, "address"]
    pattern: str = EVERY
    classes: tuple[str, ...] = ()
    bad: float = 0.001
    pinned: Annotated[str, "content"] = ""

    def __post_init__(self) -> None:
        folder, _, last = self.url.rstrip("/").rpartition("/")
        if any(letter in last for letter in "*?[{"):
            object.__setattr__(self, "url", folder or ("/" if self.url.startswith("/") else "."))
            object.__setattr__(self, "pattern", last)

    def addresses(self) -> Mapping[str, str]:
        """The tars, and not what else lies in their folder."""
        return {"url": self.url if self.pattern == EVERY else f"{self.url}/{re.sub('{.*}', '*', self.pattern)}"}

    def open(self, run: Run) -> Examples:
        """Read, or find in the cache; ValueError for examples without their pair, with the first 5; DataError for a damaged tar."""
        from components.data.decoded import Reading, opened
        from components.data.folder import files_of
        from components.data.names import shown
        from components.data.source import Source, identity

        where = f"WebDataset {shown(self.url)}/{self.pattern}"
        source = Source.open(self.url, self.pinned, run, None if self.pattern == EVERY else re.split(r"[*?[{]", self.pattern)[0])
        patterns = expanded(self.pattern)
        depth = (lambda name: name.rsplit("/", 1)[-1]) if self.pattern == EVERY else str
        files = source.select(lambda name: any(fnmatchcase(depth(name), pattern) and "/" not in depth(name) for pattern in patterns))
        if not files:
            raise ValueError(f"{where}: no tar among {len(source.files)} files; check the pattern")

        def rows() -> Iterator[Row]:
            lacking: list[str] = []
            labelled = False
            for number, (file, stream) in enumerate(source.streams(files)):
                with stream:
                    for row in _rows(stream, number, file.name or self.url.rsplit("/", 1)[-1], source.shown(file)):
                        labelled = labelled or row.label is not None
                        if what := _lacks(row, labelled):
                            lacking.append(f"{row.id} ({what})")
                        yield row
            if lacking:
                first = ", ".join(lacking[:FIRST])
                raise ValueError(f"{where}: {len(lacking)} examples lack their pair, first {first}; add or remove them")

        reading = Reading(where, self.classes, labelled=False, bad=self.bad, size=sum(file.size for file in files))
        return opened(run, identity(self, files), rows, reading, files_of(source, files))

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)


def expanded(pattern: str) -> list[str]:
    """The patterns in one with braces: `a-{08..10}.tar` is a-08, a-09 and a-10, `{train,val}.tar` both."""
    start, end = pattern.find("{"), pattern.find("}")
    if start < 0 or end < start:
        return [pattern]
    low, dots, high = pattern[start + 1 : end].partition("..")
    if dots and low.isdecimal() and high.isdecimal():
        items = [str(number).zfill(len(low)) for number in range(int(low), int(high) + 1)]
    else:
        items = pattern[start + 1 : end].split(",")
    return [pattern[:start] + item + rest for item in items for rest in expanded(pattern[end + 1 :])]


def _rows(stream: Stream, number: int, name: str, where: str) -> Iterator[Row]:
    """The examples of one tar, in its order."""
    key = ""
    fields: dict[str, tuple[bytes, int]] = {}
    for member, content, offset in _members(stream, where):
        folder, _, base = member.rpartition("/")
        stem, _, suffix = base.partition(".")
        stem = f"{folder}/{stem}" if folder else stem
        if stem != key and fields:
            yield _example(f"{name}/{key}", fields, number)
            fields = {}
        key = stem
        fields[suffix.lower()] = content, offset
    if not fields:
        raise ValueError(f"{where}: no files in it; remove it")
    yield _example(f"{name}/{key}", fields, number)


def _members(stream: Stream, where: str) -> Iterator[tuple[str, bytes, int]]:
    """(name, content, where it begins in the stream or -1 where it is compressed) of each file that people mean."""
    from components.data.decode import MOST_BYTES
    from components.data.names import hidden, is_image, safe

    try:
        whole = io.BufferedReader(stream, BUFFER)
        with tarfile.open(fileobj=whole) as archive:
            content: Any = archive.fileobj
            while (member := _next(archive, content if content is whole else None)) is not None:
                name = safe(member.name, where) if not member.isdir() else ""
                if member.issym() or member.islnk():
                    raise DataError(f"{where}: {name} is a link; put the file itself there")
                if not member.isfile() or hidden(name):
                    continue
                if member.size > (MOST_BYTES if is_image(name) else LARGEST_TEXT):
                    raise DataError(f"{where}: {name} has {member.size} bytes, more than an image or a text; remove it")
                if member.sparse is not None:
                    raise DataError(f"{where}: {name} is a sparse file; write the tar anew, without holes")
                content.seek(member.offset_data)
                found = content.read(member.size)
                if len(found) < member.size:
                    raise tarfile.ReadError("unexpected end of data")
                yield name, found, member.offset_data if content is whole else -1
            if content is whole:
                _ended(whole, where)
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"{where}: is damaged ({error}); fetch it again") from error


def _next(archive: tarfile.TarFile, plain: IO[bytes] | None) -> tarfile.TarInfo | None:
    """The next member. An ordinary file's header in a plain tar is read here, and its checksum compared: tarfile takes three times as long."""
    if plain is not None and archive.firstmember is None and not archive.pax_headers:  # type: ignore[attr-defined]
        plain.seek(archive.offset)
        if member := _ordinary(plain.read(HEADER)):
            member.offset_data = plain.tell()
            archive.offset = member.offset_data + -(-member.size // HEADER) * HEADER
            return member
    member = archive.next()
    archive.members = []  # type: ignore[attr-defined]  # the list would grow with the tar
    return member


def _ordinary(header: bytes) -> tarfile.TarInfo | None:
    """The member of a header that has nothing but a short name in ASCII and a size; None for any other."""
    name, size, check = header[:100].partition(b"\0")[0], header[124:136].rstrip(b" \0"), header[148:156].rstrip(b" \0")
    plain = header[257:262] == b"ustar" and header[156:157] in (b"0", b"\0") and not header[157:257].strip(b"\0") and not header[345:500].strip(b"\0")
    if not (plain and name.isascii() and not name.endswith(b"/") and OCTAL.fullmatch(size) and OCTAL.fullmatch(check)):
        return None
    if sum(header) - sum(header[148:156]) + 8 * ord(" ") != int(check, 8):
        return None
    member = tarfile.TarInfo(name.decode())
    member.size = int(size, 8)
    return member


def _ended(whole: IO[bytes], where: str) -> None:
    """A plain tar ends with two blocks of zeros; one cut between two files would look complete."""
    if whole.seek(0, 2) >= 1024:
        whole.seek(-1024, 2)
        if any(whole.read(1024)):
            raise DataError(f"{where}: is cut short (no end marker); fetch it again")


def _example(name: str, fields: dict[str, tuple[bytes, int]], number: int) -> Row:
    from components.data.decode import Unreadable
    from components.data.decoded import Row
    from components.data.names import is_image

    image, offset = next((content for suffix, content in fields.items() if is_image(f".{suffix}")), (_absent(), -1))
    facts: dict[str, Any] = {}
    try:
        if "json" in fields:
            facts = dict(json.loads(fields["json"][0]))
        facts |= {"cls": fields["cls"][0].decode().strip()} if "cls" in fields else {}
        facts |= {"caption": fields["txt"][0].decode().strip()} if "txt" in fields else {}
    except (ValueError, TypeError) as error:
        image = Unreadable(f"damaged text ({error})")
    label = next((facts[key] for key in LABELS if facts.get(key) is not None), None)
    if isinstance(label, str) and label.lstrip("-").isdecimal():
        label = int(label)
    elif label is not None and not isinstance(label, int):
        label = str(label)
    caption = next((str(facts[key]) for key in CAPTIONS if facts.get(key)), "")
    return Row(name, image, label, (caption,) if caption else (), (-1, 0) if offset < 0 else (number, offset))


def _lacks(row: Row, labelled: bool) -> str:
    """What an example among labelled or captioned ones is without; one whose text is damaged is counted elsewhere."""
    if not isinstance(row.image, bytes):
        return "image" if str(row.image) == NO_IMAGE else ""
    if row.label is not None or (row.captions and not labelled):
        return ""
    return "label" if labelled else "caption"


def _absent() -> Any:
    from components.data.decode import Unreadable

    return Unreadable(NO_IMAGE)
