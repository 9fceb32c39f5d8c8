"""Pins: data has identity by content, not address. A manifest lists a source's files (relative name, size, sha256 of chunk sha256s).

The store remembers (url, name, size, mtime or etag) -> digest, so that pinning again is a listing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec

from infra.dag import Plan
from infra.identity import addresses, is_knob, marks
from infra.node import Node
from infra.store.place import Place, absolute

Digest = Callable[[str], str]  # url of a file -> digest of its content


def sources(value: Any) -> Iterator[str]:
    """The address of every source in an argument, fields of dataclasses included; nodes are not entered."""
    if is_knob(value) and not isinstance(value, Node):
        found = addresses(value)
        yield from found.values()
        for field in dataclasses.fields(value):
            if field.name not in found:
                yield from sources(getattr(value, field.name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from sources(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from sources(item)


def pinned(value: Any, pins: Mapping[str, str]) -> Any:
    """The argument with every source's `content` field set to the digest of its manifest, so that its reader can check the bytes."""
    if isinstance(value, list | tuple):
        return type(value)(pinned(item, pins) for item in value)
    if isinstance(value, Mapping):
        return {key: pinned(item, pins) for key, item in value.items()}
    if not is_knob(value) or isinstance(value, Node) or not any(True for _ in sources(value)):
        return value
    own, found = marks(type(value)), addresses(value)
    kept = (field.name for field in dataclasses.fields(value) if field.name not in found and own.get(field.name) != "content")
    changes = {name: pinned(getattr(value, name), pins) for name in kept}
    url = next(iter(found.values()), "")
    changes.update({name: pins[url] for name, mark in own.items() if mark == "content" and url in pins})
    return dataclasses.replace(value, **changes)


class Pins:
    """Manifests kept in a store."""

    def __init__(self, place: Place, digest: Digest) -> None:
        self.place, self.digest = place, digest

    def of(self, plan: Plan) -> dict[str, str]:
        """{address: digest of its manifest} for every source that a plan reads. Raises ValueError for a source that is not there."""
        found = dict.fromkeys(url for node in plan.nodes() for url in sources(list(node.arguments.values())))
        return {url: self.pin(url) for url in found}

    def pin(self, url: str) -> str:
        """Digest of the manifest of all files below a URL, made now; known files are not read again."""
        memory = "pins/" + hashlib.sha256(absolute(url).encode()).hexdigest()[:20] + ".json"
        known: dict[str, list[Any]] = {}
        with contextlib.suppress(ValueError):  # what a crash cut short is read anew
            known = json.loads(self.place.read(memory) or b"{}")
        listed = listing(url)
        fresh = {name: facts for name, facts in listed.items() if known.get(name, [None, None])[:2] != list(facts)}
        with ThreadPoolExecutor(8) as pool:
            digests = dict(zip(fresh, pool.map(lambda name: self.digest(join(url, name)), fresh), strict=True))
        entries = {name: [*facts, digests.get(name) or known[name][2]] for name, facts in listed.items()}
        manifest = json.dumps([[name, entry[0], entry[2]] for name, entry in sorted(entries.items())], separators=(",", ":")).encode()
        pin = hashlib.sha256(manifest).hexdigest()[:20]
        if fresh or len(known) != len(entries):
            self.place.write(memory, json.dumps(entries).encode())
        if not self.place.exists(f"manifests/{pin}.json"):
            self.place.create(f"manifests/{pin}.json", manifest)
        return pin

    def manifest(self, pin: str) -> list[tuple[str, int, str]]:
        """(name, size, digest) of the files of a pinned source."""
        found = self.place.read(f"manifests/{pin}.json")
        if found is None:
            raise ValueError(f"{self.place.url}: has no manifest {pin}; run the study again to pin its data")
        return [(name, size, digest) for name, size, digest in json.loads(found)]


def join(url: str, name: str) -> str:
    return f"{absolute(url)}/{name}" if name else absolute(url)


def listing(url: str) -> dict[str, tuple[int, str]]:
    """{relative name: (size, mtime or etag)} of every file at or below a URL; hidden files are passed over. "" is the URL itself."""
    fs, root = fsspec.core.url_to_fs(absolute(url), use_listings_cache=False)
    root = root.rstrip("/")
    found = fs.find(root, detail=True)
    if not found:
        raise ValueError(f"{url}: no such file or folder, or it is empty; check the path")
    out = {}
    for path, facts in found.items():
        name = path[len(root) :].lstrip("/")
        if not any(part.startswith(".") for part in name.split("/")):
            if facts.get("islink") and os.path.isdir(path):
                raise ValueError(f"{url}: {name} is a link to a folder; put the folder itself there")
            if facts.get("islink"):  # a link has a time of its own, which its target's changes leave alone
                facts["mtime"] = _changed(path, url, name)
            version = facts.get("ETag") or facts.get("etag") or facts.get("mtime") or facts.get("LastModified") or ""
            out[name] = (int(facts["size"] or 0), str(version))
    return out


def _changed(path: str, url: str, name: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        raise ValueError(f"{url}: {name} is a link to nothing; put the file itself there, or remove the link") from None
