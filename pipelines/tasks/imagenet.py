"""ImageNet with OpenAI's class names and prompts, and the five test sets on which robustness is reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from components.data import Numbered, ObjectNet, Split, Synsets
from components.models.openclip import imagenet
from components.types import Dataset
from pipelines.tasks.base import Task

READERS: Mapping[str, Callable[[str], Dataset]] = {
    "V2": Numbered,
    "Sketch": Synsets,
    "R": lambda url: Synsets(url, "imagenet-r"),
    "A": lambda url: Synsets(url, "imagenet-a"),
    "ObjectNet": ObjectNet,
}
FAMILY = {
    "V2": "imagenetv2-matched-frequency-format-val", "R": "imagenet-r", "Sketch": "sketch", "ObjectNet": "objectnet-1.0", "A": "imagenet-a",
}  # fmt: skip


@dataclass(frozen=True)
class ImageNet(Task):
    """ImageNet's 1000 classes (arXiv:1409.0575): `url` holds train and val, each a folder for each WordNet id.

    `shift_urls`: the folders of V2, Sketch, R, A and ObjectNet, of which you have; R and A answer with the 200 columns of their classes,
    ObjectNet with the largest of the classes mapped to each of its 113. The mean of shifts weighs those that are named equally.
    Class names and 80 prompts are OpenAI's, from open_clip's published lists. `held_out_share` of train selects.
    """

    url: str = "imagenet"
    shift_urls: Mapping[str, str] = field(default_factory=dict)
    steps: int = 40_000
    held_out_share: float = 0.02

    def __post_init__(self) -> None:
        if strange := [name for name in self.shift_urls if name not in READERS]:
            raise ValueError(f"ImageNet: {strange[0]!r} is no test set of its classes; there are {', '.join(READERS)}")

    @property
    def name(self) -> str:
        return "ImageNet"

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        return imagenet()[0]

    @property
    def prompts(self) -> tuple[str, ...]:  # type: ignore[override]
        return imagenet()[1]

    @property
    def caveat(self) -> str:
        return f"The mean is over {', '.join(self.shift_urls)}." if self.shift_urls else ""

    @property
    def train(self) -> Dataset:
        return Split(self._images("train"), 0.0, 1.0 - self.held_out_share)

    @property
    def held_out(self) -> Dataset:
        return Split(self._images("train"), 1.0 - self.held_out_share, 1.0)

    @property
    def test(self) -> Dataset:
        return self._images("val")

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        return {name: READERS[name](url) for name, url in self.shift_urls.items()}

    def _images(self, part: str) -> Dataset:
        return Synsets(f"{self.url.rstrip('/')}/{part}")
