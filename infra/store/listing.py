"""What lies at or below a URL: names, sizes and what changes with each file, page by page and folders side by side.

Only data is found by listing, and only to be hashed: a file that a listing missed is not in the manifest, and nobody reads it; once a later
listing has it, that is other data under another identity.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import fsspec

from infra.secrets import redact
from infra.store.place import absolute, is_local

Page = list[tuple[str, int, str]]  # (relative name, size, version); a version "" says nothing, so that such a file is always read again

PAGE = 1000
WIDE = 16  # listings under way at once
DEEP = 3  # levels of folders that are looked at for enough of them
MANY = 4096  # folders in one beyond which all below it is one listing: a request for each would take longer
WILD = re.compile(r"[*?[]")
VERSIONS = ("ETag", "etag", "mtime", "LastModified", "Last-Modified", "created")


def pages(url: str) -> Iterator[Page]:
    """All files at or below a URL, in any order; hidden ones are passed over. The name "" is the URL itself, where that is a file.

    A last part with `*`, `?` or `[` is a pattern: the files of that name in the folder itself, by their names there.
    Raises ValueError where nothing is there, and for a link to a folder or to nothing.
    """
    url, found = absolute(url), False
    root, pattern = parted(url)
    for page in _disk(root, pattern) if is_local(url) else _remote(root, pattern):
        kept = [entry for entry in page if not any(part.startswith(".") for part in entry[0].split("/"))]
        kept = [entry for entry in kept if fnmatchcase(entry[0], pattern) and "/" not in entry[0]] if pattern else kept
        found = found or bool(kept or (page and not pattern))
        if kept:
            yield kept
    if not found:
        raise ValueError(f"{url}: no such file or folder, or it is empty; check the path")


def parted(url: str) -> tuple[str, str]:
    """The folder of a URL that ends in a pattern, and the pattern; the URL and "" where it is none, or where a file of that very name is there."""
    if url.startswith(("http://", "https://")):  # there ? begins a query
        return url, ""
    folder, _, last = url.rpartition("/")
    return (folder or "/", last) if WILD.search(last) and not (is_local(url) and os.path.exists(url)) else (url, "")


def _disk(root: str, pattern: str) -> Iterator[Page]:
    if not os.path.isdir(root):
        yield [("", *_state(root, root, ""))] if os.path.exists(root) else []
        return
    entries = _walk(root, "", root, deep=not pattern)
    while page := list(islice(entries, PAGE)):
        yield page


def _walk(folder: str, prefix: str, root: str, *, deep: bool) -> Iterator[tuple[str, int, str]]:
    with os.scandir(folder) as found:
        for entry in found:
            name = prefix + entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and not deep:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{name}/", root, deep=True)
            elif entry.is_dir():
                raise ValueError(f"{root}: {name} is a link to a folder; put the folder itself there")
            else:
                yield (name, *_state(entry.path, root, name))


def _state(path: str, root: str, name: str) -> tuple[int, str]:
    """Size and times, of its target where it is a link. What is copied in place of a file may bring its time of writing (`cp -p`, `rsync -t`, `tar`),
    but never the time at which that was set."""
    try:
        state = os.stat(path)
    except FileNotFoundError:
        raise ValueError(f"{root}: {name} is a link to nothing; put the file itself there, or remove the link") from None
    if not stat.S_ISREG(state.st_mode):
        raise ValueError(f"{root}: {name or 'it'} is neither a file nor a folder; remove it")
    return state.st_size, f"{state.st_mtime_ns} {state.st_ctime_ns}"


def _remote(url: str, pattern: str) -> Iterator[Page]:
    fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    root = root.rstrip("/")
    if "s3" in fs.protocol:
        bucket, key, _ = fs.split_path(root)
        empty = True
        for page in _bucket(fs, bucket, f"{key}/" if key else "", WILD.split(pattern)[0], deep=not pattern):
            empty = empty and not page
            yield page
        if not empty:
            return
    if "http" in fs.protocol:  # a server has no folders
        try:
            facts = fs.info(root)
        except FileNotFoundError:
            return
        if facts.get("size") is None:
            raise OSError(f"{redact(url)}: its server does not say how long it is; fetch it to a disk first")
        yield [("", int(facts["size"]), _version(facts))]
        return
    found = fs.find(root, detail=True, maxdepth=1 if pattern else None)
    yield [(path[len(root) :].lstrip("/"), int(facts["size"] or 0), _version(facts)) for path, facts in found.items()]


def _version(facts: dict[str, Any]) -> str:
    return next((str(facts[name]) for name in VERSIONS if facts.get(name)), "")


def _bucket(fs: Any, bucket: str, root: str, begin: str, *, deep: bool) -> Iterator[Page]:
    """All objects below a folder: a listing for each folder in it, once some levels down have enough of them; or, not deep, those that begin so."""

    def named(answer: dict[str, Any]) -> Page:
        objects = answer.get("Contents", ())
        return [(one["Key"][len(root) :], int(one["Size"]), str(one["ETag"])) for one in objects if not one["Key"].endswith("/")]

    def asked(prefix: str, token: str, delimiter: str) -> dict[str, Any]:
        more = {"ContinuationToken": token} if token else {}
        answer: dict[str, Any] = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter=delimiter, MaxKeys=PAGE, **more)
        return answer

    def split(prefix: str) -> tuple[list[Page], list[str]]:
        """The files of a folder itself, and its folders; the folder as it is where these are too many."""
        files, folders, token = [], list[str](), ""
        while True:
            answer = asked(prefix, token, "/")
            files.append(named(answer))
            folders += [one["Prefix"] for one in answer.get("CommonPrefixes", ())]
            if deep and len(folders) > MANY:
                return [], [prefix]
            if not (token := answer.get("NextContinuationToken", "")):
                return files, folders

    if not deep:
        yield from split(root + begin)[0]
        return
    with ThreadPoolExecutor(WIDE) as pool:
        todo = [root]
        for _ in range(DEEP):
            if len(todo) >= WIDE:
                break
            halves = list(pool.map(split, todo))
            for files, _ in halves:
                yield from files
            todo = [folder for _, folders in halves for folder in folders]
        rest, waiting = iter(todo), dict[Future[dict[str, Any]], str]()
        while True:
            waiting |= {pool.submit(asked, prefix, "", ""): prefix for prefix in islice(rest, WIDE - len(waiting))}
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                prefix, answer = waiting.pop(future), future.result()
                yield named(answer)
                if token := answer.get("NextContinuationToken", ""):
                    waiting[pool.submit(asked, prefix, token, "")] = prefix
