"""The image datasets of the task-vector and patching experiments, and their prompts: one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from components.types import Dataset
from pipelines.tasks.own import Own, images

CLIP_PROMPTS = "https://github.com/openai/CLIP/blob/main/data/prompts.md"  # MIT
Name = Literal[
    "Cars", "DTD", "EuroSAT", "GTSRB", "KITTI", "MNIST", "RESISC45", "SUN397", "SVHN", "CIFAR10", "CIFAR100", "STL10", "Food101"
]  # fmt: skip


class Row(NamedTuple):
    """A dataset as it is reported: its metric, the prompts of its zero-shot head and who published them; `classes` () are the folders' names."""

    name: str
    metric: str
    prompts: tuple[str, ...]
    source: str = CLIP_PROMPTS
    classes: tuple[str, ...] = ()


def crossed(beginnings: tuple[str, ...], ends: tuple[str, ...]) -> tuple[str, ...]:
    """Each end with every beginning in turn."""
    return tuple(f"{beginning} {end}" for end in ends for beginning in beginnings)


PLAIN = ("a photo of a {}.", "a photo of the {}.")
NUMBER = ('a photo of the number: "{}".',)
LOOKS = ("photo of {0}", "blurry photo of {0}", "black and white photo of {0}", "low contrast photo of {0}", "high contrast photo of {0}",
         "bad photo of {0}", "good photo of {0}", "photo of {0} small", "photo of {0} big")  # fmt: skip
CIFAR = tuple(f"a {look.format(article)} {{}}." for article in ("a", "the") for look in LOOKS)
STATES = ("dirty", "clean", "new", "old")
NOUNS = ("texture", "pattern", "thing", "object")
OVERHEAD = ("satellite imagery of", "aerial imagery of", "satellite photo of", "aerial photo of", "satellite view of", "aerial view of")
DISTANCES = ("a photo i took of a car on my left or right side.", "a photo i took with a car nearby.", "a photo i took with a car in the distance.",
             "a photo i took with no car.")  # fmt: skip

TABLE = {
    row.name: row
    for row in (
        Row("Cars", "top-1", (*PLAIN, "a photo of my {}.", "i love my {}!", *(f"a photo of my {state} {{}}." for state in STATES))),
        Row("DTD", "top-1", crossed(("a photo of",), tuple(f"{a} {{}} {noun}." for a in ("a", "the") for noun in NOUNS))),
        Row("EuroSAT", "top-1", crossed(("a centered satellite photo of",), ("{}.", "a {}.", "the {}."))),
        Row("GTSRB", "top-1", tuple(f'a {view} photo of a "{{}}" traffic sign.' for view in ("zoomed in", "centered", "close up"))),
        Row("KITTI", "top-1", ("{}",), classes=DISTANCES),
        Row("MNIST", "top-1", NUMBER),
        Row("RESISC45", "top-1", crossed(OVERHEAD, ("{}.", "a {}.", "the {}."))),
        Row("SUN397", "top-1", PLAIN),
        Row("SVHN", "top-1", NUMBER, f"{CLIP_PROMPTS}, of MNIST: it has none of SVHN"),
        Row("CIFAR10", "top-1", CIFAR),
        Row("CIFAR100", "top-1", CIFAR),
        Row("STL10", "top-1", PLAIN),
        Row("Food101", "top-1", ("a photo of {}, a type of food.",)),
    )
}


@dataclass(frozen=True)
class Published(Own):
    """A dataset of the task-vector (arXiv:2212.04089) or patching (arXiv:2208.05592) experiments, by path or URL, with its published prompts.

    `url` and `test_url`: as in `Own`, class folders or what else is read there; prompts () are the table's, and classes () the table's or the
    names of the folders. KITTI is the distance of the closest vehicle; its four folders stand in the order of the table's sentences.
    """

    dataset: Name = "Cars"
    prompts: tuple[str, ...] = ()
    steps: int = 2000
    held_out_share: float = 0.1

    def __post_init__(self) -> None:
        row = TABLE[self.dataset]
        object.__setattr__(self, "prompts", self.prompts or row.prompts)
        object.__setattr__(self, "classes", self.classes or row.classes)

    @property
    def name(self) -> str:
        return self.dataset

    @property
    def caveat(self) -> str:
        return ""

    @property
    def shifts(self) -> Mapping[str, Dataset]:
        return {name: images(url) for name, url in self.shift_urls.items()}


def below(root: str, *names: Name) -> tuple[Published, ...]:
    """Datasets in folders of one root, each with a folder `train` and a folder `test`."""
    return tuple(Published(f"{root}/{name.lower()}/train", f"{root}/{name.lower()}/test", dataset=name) for name in names)


EIGHT = below("data", "Cars", "DTD", "EuroSAT", "GTSRB", "MNIST", "RESISC45", "SUN397", "SVHN")  # of task arithmetic
NINE = below("data", "Cars", "DTD", "EuroSAT", "GTSRB", "KITTI", "MNIST", "RESISC45", "SUN397", "SVHN")  # patched
SUPPORTED = below("data", "CIFAR10", "CIFAR100", "STL10", "Food101")  # whose accuracy patching keeps, beside ImageNet's
