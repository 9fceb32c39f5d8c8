"""ColoredMNIST and RotatedMNIST, as DomainBed makes them (arXiv:2007.01434), of MNIST's files or of scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from components.data import Corrupted, Dealt, Digits, Idx, Mixture, Rotate, Tinted
from components.data.digits import CLASSES
from components.data.mnist import HALVES
from components.types import Dataset
from pipelines.tasks.base import Domains


def digits(url: str, compressed: bool) -> Dataset:
    """All 70,000 digits of a folder with MNIST's four idx files; "" is scikit-learn's 1,797."""
    if not url:
        return Digits()
    end = ".gz" if compressed else ""
    return Mixture(tuple(Idx(f"{part}-images-idx3-ubyte{end}", f"{part}-labels-idx1-ubyte{end}", CLASSES, url) for part in ("train", "t10k")))


@dataclass(frozen=True)
class ColoredMNIST(Domains):
    """Is a digit below five? A quarter of the labels are wrong, and a colour tells the label better than the digit does, but not in the last domain.

    Domains +90%, +80% and -90%: how often colour and label agree, and that in the last they mostly do not. Each holds images of its own.
    `url`: a folder with MNIST's four idx files, `compressed` where they end in .gz; without one, scikit-learn's 1,797 digits.
    """

    url: str = ""
    compressed: bool = False
    steps: int = 200
    classes: tuple[str, ...] = HALVES
    prompts: tuple[str, ...] = ("a digit from {}",)

    @property
    def name(self) -> str:
        return "ColoredMNIST"

    @property
    def caveat(self) -> str:
        return "A quarter of the labels are wrong by construction, so no model that reads the digit alone is right more often than 75 % of the time."

    @property
    def domains(self) -> Mapping[str, Dataset]:
        turned = {"+90%": 0.1, "+80%": 0.2, "-90%": 0.9}
        return {name: Tinted(Dealt(digits(self.url, self.compressed), hand, len(turned)), share) for hand, (name, share) in enumerate(turned.items())}


@dataclass(frozen=True)
class RotatedMNIST(Domains):
    """Digits turned by 0, 15, 30, 45, 60 and 75 degrees counter-clockwise, a domain each; none shares an image. `url`: as in `ColoredMNIST`."""

    url: str = ""
    compressed: bool = False
    steps: int = 200
    classes: tuple[str, ...] = CLASSES
    prompts: tuple[str, ...] = ("the digit {}",)

    @property
    def name(self) -> str:
        return "RotatedMNIST"

    @property
    def domains(self) -> Mapping[str, Dataset]:
        angles = (0, 15, 30, 45, 60, 75)
        hands = [Dealt(digits(self.url, self.compressed), hand, len(angles)) for hand in range(len(angles))]
        return {str(angle): Corrupted(hand, Rotate(angle)) if angle else hand for angle, hand in zip(angles, hands, strict=True)}
