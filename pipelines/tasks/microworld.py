"""Tasks of the rendered microworld: other draws of what the base model was pretrained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from components.data import Sample, Split
from components.data.microworld import Rendered
from components.data.microworld.atlas import names
from components.types import Dataset
from pipelines.tasks.base import RENDERED, Parted, corrupted


@dataclass(frozen=True)
class Drawn(Parted):
    """Rendered digits, garments or shapes; the draws are none of those that pretraining saw, the drawings are the same.

    train hash < 0.5, held out < 0.7, test the rest of `n`. `limit`: for rehearsals, at most so many examples of each.
    """

    subject: Literal["digits", "garments", "shapes"] = "garments"
    fonts: Literal["train", "held_out"] = "train"
    style: Literal["mixed", "plain"] = "mixed"
    n: int = 1500
    steps: int = 100
    prompts: tuple[str, ...] = ("a picture of a {}",)
    limit: int = 0
    seed: int = 11

    @property
    def name(self) -> str:
        return "typefaces" if (self.subject, self.fonts) == ("digits", "held_out") else self.subject

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return names(self.subject)

    @property
    def caveat(self) -> str:
        return RENDERED

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        return corrupted(self.test)

    def part(self, low: float, high: float) -> Dataset:
        digits, garments, shapes = (float(self.subject == subject) for subject in ("digits", "garments", "shapes"))
        part = Split(Rendered(self.n, self.seed, digits, garments, shapes, self.fonts, self.style), low, high)
        return Sample(part, self.limit) if self.limit else part
