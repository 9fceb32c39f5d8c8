"""Tasks in several domains, each of which takes its turn as the one that is only tested on; and a task that is auxiliary to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from components.data import Colour, Corrupted, Digits, Mixture, Sample, Split, Texture
from components.data.microworld import Letters, Rendered
from components.data.microworld.atlas import names
from components.types import Dataset
from pipelines.tasks.base import RENDERED, Domains, Parted, corrupted


@dataclass(frozen=True)
class Styles(Domains):
    """The ten digits in four styles: handwritten scans, typefaces that the base never saw, dyed and textured print. No image has a copy in another.

    The printed ones are `n` drawings each of sequences of their own. `limit`: for rehearsals, at most so many examples of each.
    """

    n: int = 1000
    steps: int = 100
    classes: tuple[str, ...] = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    prompts: tuple[str, ...] = ("the digit {}",)
    limit: int = 0
    seed: int = 23

    @property
    def name(self) -> str:
        return "styles"

    @property
    def caveat(self) -> str:
        return f"{RENDERED} Handwriting and the typefaces are sources that it never saw; dyed and textured print is close to its corpus."

    @property
    def domains(self) -> Mapping[str, Dataset]:
        found: dict[str, Dataset] = {
            "handwritten": Digits(),
            "typefaces": Rendered(self.n, self.seed, 1.0, 0.0, 0.0, "held_out", "plain"),
            "coloured": Corrupted(Rendered(self.n, self.seed + 1, 1.0, 0.0, 0.0, "train", "plain"), Colour()),
            "textured": Corrupted(Rendered(self.n, self.seed + 2, 1.0, 0.0, 0.0, "train", "plain"), Texture()),
        }
        return {name: Sample(data, self.limit) if self.limit else data for name, data in found.items()}


@dataclass(frozen=True)
class Lettering(Parted):
    """Ten capital letters in many typefaces, which the corpus of stockpot-tiny does not hold.

    train hash < 0.5, held out < 0.7, test the rest of `n`. `limit`: for rehearsals, at most so many examples of each.
    """

    n: int = 1500
    steps: int = 100
    prompts: tuple[str, ...] = ("the letter {}",)
    limit: int = 0
    seed: int = 11

    @property
    def name(self) -> str:
        return "letters"

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return names("letters")

    @property
    def caveat(self) -> str:
        return RENDERED

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        return corrupted(self.test)

    def part(self, low: float, high: float) -> Dataset:
        part = Split(Letters(self.n, self.seed), low, high)
        return Sample(part, self.limit) if self.limit else part


@dataclass(frozen=True)
class Pooled(Parted):
    """All domains of a task as one: what is auxiliary to another task in domains. train hash < 0.8, held out < 0.9, test the rest of each."""

    of: Domains
    bounds: ClassVar[tuple[float, float]] = (0.8, 0.9)

    @property
    def steps(self) -> int:  # type: ignore[override]
        return self.of.steps

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.of.classes

    @property
    def prompts(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.of.prompts

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def caveat(self) -> str:
        return self.of.caveat

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        return corrupted(self.test)

    def part(self, low: float, high: float) -> Dataset:
        return Mixture(tuple(Split(data, low, high) for data in self.of.domains.values()))
