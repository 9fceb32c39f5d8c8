"""Training states: what a half-trained node needs to go on, in `{key}/state/{step}-{attempt}/`, its pointer written last.

A state is written to local scratch, hashed, copied into the store, and counts once `{step}-{attempt}.json` names its files and their
digests. The newest valid one wins; older states of the same attempt are removed once a newer one stands.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import fsspec

from infra.store.place import Place

KEEP = 2  # states that remain: the newest, and one before it in case that one is damaged


def sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class States:
    """The training states of one node, as seen by one attempt."""

    def __init__(self, place: Place, key: str, attempt: str, scratch: str) -> None:
        self.place, self.folder, self.attempt, self.scratch = place, f"{key}/state", attempt, scratch
        self._own: list[int] = []

    def save(self, step: int, write: Callable[[str], None]) -> None:
        """`write(folder)` into scratch, then publish the state in the store."""
        local = os.path.join(self.scratch, f"state-{step}")
        os.makedirs(local, exist_ok=True)
        write(local)
        name = f"{step}-{self.attempt}"
        files = {path.name: sha256(path) for path in sorted(Path(local).iterdir())}
        target = self.place.at(f"{self.folder}/{name}")
        fs = fsspec.core.url_to_fs(target)[0]
        fs.makedirs(target, exist_ok=True)
        for file in files:
            fs.put_file(os.path.join(local, file), f"{target}/{file}")
        self.place.write(f"{self.folder}/{name}.json", json.dumps({"step": step, "files": files, "time": time.time()}).encode())
        shutil.rmtree(local)
        self._own.append(step)
        while len(self._own) > KEEP:
            self._forget(f"{self._own.pop(0)}-{self.attempt}")

    def restore(self) -> tuple[int, str] | None:
        """(step, local folder) of the newest state whose files have the recorded digests, or None; damaged ones are passed over."""
        pointers = [name.removesuffix(".json") for name in self.place.names(self.folder) if re.fullmatch(r"\d+-.+\.json", name)]
        for name in sorted(pointers, key=lambda name: (int(name.split("-", 1)[0]), name), reverse=True):
            local = os.path.join(self.scratch, f"restored-{name}")
            if self._fetch(name, local):
                return int(name.split("-", 1)[0]), local
        return None

    def _fetch(self, name: str, local: str) -> bool:
        pointer = self.place.read(f"{self.folder}/{name}.json")
        os.makedirs(local, exist_ok=True)
        fs = fsspec.core.url_to_fs(self.place.url)[0]
        try:
            for file, digest in json.loads(pointer or b"")["files"].items():
                if os.path.basename(file) != file:
                    return False
                fs.get_file(self.place.at(f"{self.folder}/{name}/{file}"), os.path.join(local, file))
                if sha256(os.path.join(local, file)) != digest:
                    return False
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        return True

    def clear(self) -> None:
        """Remove every state: the node is done."""
        self.place.remove(self.folder)

    def _forget(self, name: str) -> None:
        self.place.remove(f"{self.folder}/{name}.json")
        self.place.remove(f"{self.folder}/{name}")
