"""Digests of many files: small ones fetched many at once, large ones by chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from components.weights.files import CHUNK, content, digest, digest_of, local
from components.weights.ranges import fetch
from components.weights.threads import cores, ordered

TOGETHER = 128  # small files fetched at once
GATHERED = 1 << 25  # bytes of them, at the most
Named = tuple[str, int]  # URL and size


def digests_of(files: Iterable[Named]) -> Iterator[str]:
    """The chunked digest of each file, in order and as they come; DataError for one that is gone, or shorter than said."""

    def make() -> Callable[[list[Named]], list[str]]:
        return hashed

    for found in ordered(make, _groups(files), max(2, cores())):
        yield from found


def hashed(group: list[Named]) -> list[str]:
    """The digests of small files of one place, or of a single large one."""
    if len(group) == 1 and group[0][1] > CHUNK:
        return [digest_of(group[0][0])]
    if local(group[0][0]) is not None:
        return [digest(_present(url)) for url, _ in group]
    found = iter(fetch([(url, 0, size) for url, size in group if size]))
    return [digest(next(found) if size else b"") for _, size in group]


def _present(url: str) -> bytes:
    found = content(url)
    if found is None:
        raise FileNotFoundError(f"{url} was there and is gone; run again to pin the data anew")
    return found


def _groups(files: Iterable[Named]) -> Iterator[list[Named]]:
    group: list[Named] = []
    for file in files:
        full = len(group) == TOGETHER or sum(size for _, size in group) + file[1] > GATHERED
        if group and (full or file[1] > CHUNK):
            yield group
            group = []
        group.append(file)
        if file[1] > CHUNK:
            yield group
            group = []
    if group:
        yield group
