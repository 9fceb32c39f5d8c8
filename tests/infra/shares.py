"""A dataset of noise whose process is killed once, in the middle of a share; importable by worker processes."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.data.examples import Changed, Rows
from components.evaluate import SHARE
from components.types import Dataset, Run, revision


@revision(1)
@dataclass(frozen=True)
class Noise(Dataset):
    """n pictures. folder: gets a file for each process and share that asks for the last picture but 100 of the share; at `bad` it dies once."""

    n: int
    folder: str = ""
    bad: int = -1

    def open(self, run: Run) -> Rows:
        pixels = np.random.default_rng(0).integers(0, 256, (self.n, 16, 16, 3), dtype=np.uint8)
        ids = np.array([f"{i:06d}" for i in range(self.n)])
        watched = Changed(pixels, ids, self.seen) if self.folder else pixels
        return Rows(ids, np.arange(self.n, dtype=np.int64) % 10, watched, f"noise {self.n} {self.folder}")

    def seen(self, image: Any, name: str) -> Any:
        if (index := int(name)) % SHARE == 1000:
            Path(self.folder, f"{index // SHARE}.{os.getpid()}").touch()
            if index // SHARE == self.bad and not Path(self.folder, "killed").exists():
                Path(self.folder, "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return image

    def parts(self) -> Any:
        return ((self, 0.0, 1.0),)


