"""How much of a run's journal one MLflow server has: a small file beside the journal, one for each server."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from infra.secrets import redact
from infra.tracking.journal import grown, lines


@dataclass
class Sent:
    """Bytes sent by writer, what MLflow refused for good, and why the rest has not been sent (empty where nothing is known to be wrong)."""

    path: Path
    tracking: str
    cursor: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    problem: str = ""
    ended: bool = False

    @classmethod
    def of(cls, folder: str | os.PathLike[str], tracking: str) -> Sent:
        """What the server at `tracking` has of the run in `folder`; user and password are left out, so that a new one changes nothing."""
        shown = redact(tracking)
        path = Path(folder) / "mirror" / f"{hashlib.sha256(shown.encode()).hexdigest()[:16]}.json"
        known = {}
        with contextlib.suppress(FileNotFoundError, ValueError):  # a torn or missing file: everything is sent again, which changes nothing
            known = json.loads(path.read_text())
        return cls(path, shown, **{name: known[name] for name in ("cursor", "refused", "problem", "ended") if name in known})

    @property
    def known(self) -> bool:
        """Whether this run was ever to be mirrored to this server."""
        return self.path.exists()

    @property
    def unsent(self) -> int:
        """How many events of the journal have not been sent."""
        return sum(bool(line.event) for line in lines(self.path.parents[1], self.cursor))

    @property
    def behind(self) -> int:
        """How many bytes of the journal have not been sent: quicker to tell than events."""
        return sum(grown(self.path.parents[1], self.cursor).values())

    def save(self) -> None:
        """Replace the file in one step."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: value for name, value in asdict(self).items() if name != "path"}
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(state))
        os.replace(new, self.path)

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Whether this process is the one that mirrors this run to this server; the system lets go when it dies."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
