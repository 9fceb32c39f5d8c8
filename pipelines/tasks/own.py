"""Images of your own as a task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from components.data import Folder, Npz, Parquet, Split, WebDataset
from components.types import Dataset
from pipelines.tasks.base import RENDERED, Task, corrupted

PHOTO = ("a photo of a {}.",)


def unsigned(url: str) -> str:
    """An address without the query of a web server, which may be a signature."""
    return url.partition("?")[0] if url.startswith(("http://", "https://")) else url


def images(url: str) -> Dataset:
    """The labelled images at a path or URL, by its last part: tars (`*.tar`, `train-{000..012}.tar`), .parquet, .npz, or class folders."""
    last = unsigned(url).rstrip("/").rpartition("/")[2]
    if ".tar" in last:
        return WebDataset(url)
    return Npz(url) if last.endswith(".npz") else Parquet(url) if last.endswith((".parquet", ".pq")) else Folder(url)


@dataclass(frozen=True)
class Own(Task):
    """Images of your own, by path or URL: class folders, `s3://bucket/flowers-*.tar`, a .parquet or .npz file. `--task Own --task.url ./flowers`.

    Without `test_url` the images are divided by hash(relative path) into train, held out and test. `shifts` names further folders with the same
    classes; without any, the eight corruptions of the test images stand in.
    """

    url: str
    test_url: str = ""
    shift_urls: Mapping[str, str] = field(default_factory=dict)
    prompts: tuple[str, ...] = PHOTO
    classes: tuple[str, ...] = ()
    steps: int = 200
    held_out_share: float = 0.2
    test_share: float = 0.2

    def __post_init__(self) -> None:
        if min(self.held_out_share, self.test_share) <= 0 or self.held_out_share + self._tested >= 1:
            shares = f"--task.held_out_share {self.held_out_share:g} and --task.test_share {self.test_share:g}"
            raise ValueError(f"{shares}: both are more than 0, and together less than 1; the rest of the images trains")

    @property
    def name(self) -> str:
        """The last part of the address that is a name: `flowers` of ./flowers, flowers/*.tar and flowers-{000..012}.tar."""
        parts = (re.split(r"[.*?\[{]", part)[0].strip("-_") for part in reversed(unsigned(self.url).split("/")))
        return next(filter(None, parts), "own")

    @property
    def caveat(self) -> str:
        return "" if self.shift_urls else RENDERED

    @property
    def train(self) -> Dataset:
        return Split(images(self.url), 0.0, 1.0 - self.held_out_share - self._tested)

    @property
    def held_out(self) -> Dataset:
        return Split(images(self.url), 1.0 - self.held_out_share - self._tested, 1.0 - self._tested)

    @property
    def test(self) -> Dataset:
        return images(self.test_url) if self.test_url else Split(images(self.url), 1.0 - self.test_share, 1.0)

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        return {name: images(url) for name, url in self.shift_urls.items()} or corrupted(self.test)

    @property
    def _tested(self) -> float:
        return 0.0 if self.test_url else self.test_share
