"""Ranges of remote files, several at once; what this process has verified is checked again, as a range carries no checksum on its way."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any

from components.types import DataError
from components.weights.files import CHUNK, MARK, came, crc32s, found, remote

GAP = 1 << 16

Span = tuple[str, int, int]
_known: dict[str, tuple[int, Sequence[int]]] = {}  # URL of a verified file -> its size, and the crc32 of each MARK bytes


def fetch(ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """The bytes of remote (url, start, stop), all at once; those of one file system are one call of it, those that nearly touch one request.

    DataError where a file that this process has verified comes with other bytes, also the second time.
    """
    if not ranges:
        return []
    filesystem, spans = remote(ranges[0][0])[0], together(ranges)
    asked = [widened(span) for span in spans]
    contents = _asked(filesystem, asked)
    for at, (span, content) in enumerate(zip(asked, contents, strict=True)):
        if not sound(*span[:2], content):
            contents[at] = _asked(filesystem, [span])[0]
            if not sound(*span[:2], contents[at]):
                raise DataError(f"{span[0]} comes with other bytes than when it was verified; run again, and stockpot verify if it stays so")
    begun = {url: [at for at, span in enumerate(spans) if span[0] == url] for url, _, _ in spans}
    made = []
    for url, start, stop in ranges:
        at = begun[url][bisect.bisect_right(begun[url], start, key=lambda at: spans[at][1]) - 1]
        first = asked[at][1]
        made.append(contents[at] if (start, stop) == asked[at][1:] else contents[at][start - first : stop - first])
    return made


def _asked(filesystem: Any, spans: Sequence[tuple[str, int, int]]) -> list[bytes]:
    paths = [remote(url)[1] for url, _, _ in spans]
    contents = filesystem.cat_ranges(paths, [start for _, start, _ in spans], [stop for _, _, stop in spans], on_error="return")
    for (url, start, stop), content in zip(spans, contents, strict=True):
        with found(url, stop):
            if isinstance(content, BaseException):
                raise content
        came(url, start, stop, len(content))
    return list(contents)


def together(ranges: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """What to ask for so as to have these ranges: a request costs more than the GAP bytes between two of them."""
    spans: list[tuple[str, int, int]] = []
    for url, start, stop in sorted(ranges):
        last = spans[-1] if spans else ("", 0, 0)
        if last[0] == url and start <= last[2] + GAP and (stop <= last[2] or stop - last[1] <= CHUNK):
            spans[-1] = (url, last[1], max(last[2], stop))
        else:
            spans.append((url, start, stop))
    return spans


def keep(url: str, size: int, crcs: Sequence[int]) -> None:
    """From now on parts of this file are compared with these."""
    _known[url] = size, crcs


def widened(span: Span) -> Span:
    """The bytes to ask for so that they can be compared: whole marks, of a file that is known."""
    url, start, stop = span
    size, _ = _known.get(url, (0, ()))
    return (url, start // MARK * MARK, min(size, -(-stop // MARK) * MARK)) if stop <= size else span


def sound(url: str, start: int, content: bytes) -> bool:
    """Whether bytes that begin at a mark are those that were verified; whatever is not known is."""
    size, crcs = _known.get(url, (0, ()))
    first = start // MARK
    return start % MARK > 0 or start + len(content) > size or crc32s(memoryview(content)) == list(crcs[first : first + -(-len(content) // MARK)])
