"""The domains that DomainBed makes of MNIST, of any digits: disjoint images, and colours that agree with a noisy label.

Gulrajani and Lopez-Paz 2020, arXiv:2007.01434 (facebookresearch/DomainBed, domainbed/datasets.py); Arjovsky et al. 2019, arXiv:1907.02893.
All that is random is a function of the example's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.types import Dataset, Examples, Run, revision

if TYPE_CHECKING:
    from components.data.examples import Image

HALVES = ("five to nine", "zero to four")  # label 1 is a digit below five


@revision(1)
@dataclass(frozen=True)
class Dealt(Dataset):
    """One of `hands` disjoint parts of a dataset, number `hand` from 0: hash("dealt/" + id) decides, which is independent of `Split`'s hash(id).

    It is a root of its own: that it holds images which the dataset holds, too, is not seen where a plan is checked for leaks.
    """

    data: Dataset
    hand: int
    hands: int

    def __post_init__(self) -> None:
        if not 0 <= self.hand < self.hands:
            raise ValueError(f"Dealt: hand {self.hand} of {self.hands}; count from 0")

    def open(self, run: Run) -> Examples:
        """The part, in the order of the whole; ValueError where it is empty."""
        import numpy as np

        from components.data import chance, examples

        whole = examples.rows(self.data.open(run))
        places = chance.position(f"dealt/{name}" for name in whole.ids)
        chosen = np.flatnonzero(np.floor(places * self.hands) == self.hand)
        if not len(chosen):
            raise ValueError(f"Dealt: hand {self.hand} of {self.hands} is empty: the dataset has {len(whole)} examples; give more of them")
        return whole.take(chosen, f"dealt {self.hand} {self.hands}")

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((self, 0.0, 1.0),)


@revision(1)
@dataclass(frozen=True)
class Tinted(Dataset):
    """Digits as two classes, below five or not, shown in a colour that mostly agrees with the label, or mostly does not.

    The label (1 below five) is turned with probability `noise`; the colour is the label, turned with probability `turned`, so that it agrees
    with probability 1 - turned. Colour 0 keeps the red channel alone, 1 the green one.
    """

    data: Dataset
    turned: float
    noise: float = 0.25

    def __post_init__(self) -> None:
        if not (0 <= self.turned <= 1 and 0 <= self.noise <= 1):
            raise ValueError(f"Tinted: turned {self.turned} and noise {self.noise} are probabilities, between 0 and 1")

    def open(self, run: Run) -> Examples:
        """The coloured examples; ValueError where labels are no digits."""
        from dataclasses import asdict, replace

        import numpy as np

        from components.data import chance, examples

        plain = examples.rows(self.data.open(run))
        if len(plain) and not 0 <= plain.labels.min() <= plain.labels.max() <= 9:
            raise ValueError(f"Tinted: labels from {plain.labels.min()} to {plain.labels.max()} are no digits; give a dataset of digits 0 to 9")
        seeds = np.array([chance.seed(f"tinted/{name}") for name in plain.ids], np.uint64)
        labels = (plain.labels < 5) ^ (chance.uniform(seeds, 0) < self.noise)
        colours = labels ^ (chance.uniform(seeds, 1) < self.turned)
        channel = dict(zip(plain.ids.tolist(), colours.astype(int).tolist(), strict=True))

        def change(image: Image, name: str) -> Image:
            tinted = np.zeros_like(image)
            tinted[..., channel[name]] = image[..., channel[name]]
            return tinted

        kind = {name: value for name, value in asdict(self).items() if name != "data"}
        pixels = examples.Changed(plain.pixels, plain.ids, change)
        return replace(plain, labels=labels.astype(np.int64), pixels=pixels, classes=HALVES, digest=examples.combined(plain.digest, "tinted", kind))

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return self.data.parts()
