"""ImageNet and the test sets that share its classes, in the layouts in which they are published.

The order of the 1000 classes is that of their sorted WordNet ids, as timm's published list has them. A set of fewer classes says which rows
of a head of 1000 stand for each of its own: the others are left out before the largest logit, or a softmax, is taken.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from components.data.listed import Columns, Listed, Listing, differing, in_folders
from components.types import DataError, Examples, File, Run, revision

if TYPE_CHECKING:
    from components.data.examples import Image
    from components.data.source import Source

WIDTH = 1000
LISTS = {"imagenet": "imagenet_synsets.txt", "imagenet-r": "imagenet_r_synsets.txt", "imagenet-a": "imagenet_a_synsets.txt"}
MAPPINGS = ("folder_to_objectnet_label.json", "objectnet_to_imagenet_1k.json", "pytorch_to_imagenet_2012_id.json", "imagenet_to_label_2012_v2")


@functools.cache
def synsets(name: str = "imagenet") -> tuple[str, ...]:
    """The WordNet ids of ImageNet, ImageNet-R (arXiv:2006.16241) or ImageNet-A (arXiv:1907.07174), sorted; from timm's package, not imported."""
    spec = importlib.util.find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("timm is not installed, and the list of ImageNet's classes is in its package; pip install timm")
    path = os.path.join(spec.submodule_search_locations[0], "data", "_info", LISTS[name])
    try:
        with open(path) as file:
            found = tuple(file.read().split())
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); reinstall timm") from error
    if sorted(set(found)) != list(found) or len(found) not in (200, WIDTH):
        raise DataError(f"{path} is no sorted list of 200 or 1000 classes; reinstall timm")
    return found


@revision(1)
@dataclass(frozen=True)
class Synsets(Listed):
    """Class folders named by WordNet id: ImageNet (train or val), ImageNet-Sketch (arXiv:1905.13549), -R, -A. Every class must be there.

    Where `classes` are the 200 of R or A, a head of 1000 answers with their rows alone. `bad`: as in `Folder`. Ids are the relative names.
    """

    url: Annotated[str, "address"]
    classes: Literal["imagenet", "imagenet-r", "imagenet-a"] = "imagenet"
    bad: float = 0.001
    pinned: Annotated[str, "content"] = ""

    def listing(self, run: Run) -> Listing:
        """ValueError that names the folders that are missing, empty or too many."""
        source, where = _source(self, run)
        wanted = synsets(self.classes)
        if told := differing(source.folders(), wanted, "class folders"):
            raise ValueError(f"{where}: {told}; give the folder that holds one for each class of {self.classes}")
        number = {name: k for k, name in enumerate(wanted)}
        found = in_folders(source)
        columns: Columns = ()
        if len(wanted) < WIDTH:
            place = {name: k for k, name in enumerate(synsets())}
            columns = tuple((place[name],) for name in wanted)
        files, labels = tuple(file for _, file in found), tuple(number[folder] for folder, _ in found)
        return Listing(source, where, files, labels, wanted, columns=columns, width=WIDTH if columns else 0).full()


@revision(1)
@dataclass(frozen=True)
class Numbered(Listed):
    """Class folders named 0 to 999, as ImageNet-V2 (arXiv:1902.10811) has them: the label is the folder's number, not its place in their order."""

    url: Annotated[str, "address"]
    bad: float = 0.001
    pinned: Annotated[str, "content"] = ""

    def listing(self, run: Run) -> Listing:
        """ValueError that names the folders that are missing, empty or too many."""
        source, where = _source(self, run)
        if told := differing(source.folders(), [str(k) for k in range(WIDTH)], "folders 0 to 999"):
            raise ValueError(f"{where}: {told}; give the folder that holds one for each number")
        found = in_folders(source)
        return Listing(source, where, tuple(file for _, file in found), tuple(int(folder) for folder, _ in found), synsets()).full()


@revision(1)
@dataclass(frozen=True)
class ObjectNet(Listed):
    """The classes of ObjectNet (Barbu et al. 2019) that ImageNet has, 113 of 313; the logit of one is the largest of those of ImageNet mapped to it.

    url: the folder objectnet-1.0, with images/ and the mapping files that come with the dataset, at any depth. crop: without the border of two
    pixels in red, which published numbers keep. Images of other classes are passed over.
    """

    url: Annotated[str, "address"]
    crop: bool = False
    bad: float = 0.001
    pinned: Annotated[str, "content"] = ""

    def listing(self, run: Run) -> Listing:
        """ValueError where a mapping file or a class is missing, DataError where a mapping says nothing about ImageNet."""
        source, where = _source(self, run)
        tables = {name: [file for file in source.files if file.name.split("/")[-1] == name] for name in MAPPINGS}
        if missing := [name for name, found in tables.items() if not found]:
            raise ValueError(f"{where}: no {missing[0]}; the files of the folder mappings that comes with ObjectNet are needed beside images")
        files = source.select({found[0].name for found in tables.values()}.__contains__)
        contents = {file.name.split("/")[-1]: source.content(file) for file in files}
        names, rows = mapped(contents, where)
        folders = sorted(rows)
        number = {folder: k for k, folder in enumerate(folders)}
        images = _parents(source)
        found = [(number[folder], file) for folder, file in images if folder in number]
        passed = len(images) - len(found)
        notes = (f"{passed} images are of classes that ImageNet has not and were passed over",) if passed else ()
        classes, columns = tuple(names[folder].lower() for folder in folders), tuple(rows[folder] for folder in folders)
        return Listing(
            source, where, tuple(file for _, file in found), tuple(label for label, _ in found), classes, columns=columns, width=WIDTH, tables=files,
            notes=notes,
        ).full()  # fmt: skip

    def open(self, run: Run) -> Examples:
        """Decode, or find decoded."""
        from dataclasses import replace

        from components.data import examples

        found = self.listing(run).opened(self, run, self.bad)
        return replace(found, pixels=examples.Changed(found.pixels, found.ids, _inner)) if self.crop else found


def mapped(contents: Mapping[str, bytes], where: str) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    """({folder: ObjectNet's name}, {folder: rows of ImageNet's head}) from the four mapping files, the second for what ImageNet has.

    The chain: folder, ObjectNet's name, ImageNet's words, the line on which these stand, and the row that the challenge of 2012 numbers so.
    """
    try:
        names, words, places = (json.loads(contents[name]) for name in MAPPINGS[:3])
        row = {int(line): int(place) for place, line in places.items()}
        lines = {line.strip(): k for k, line in enumerate(contents[MAPPINGS[3]].decode().splitlines())}
        folder = {name: folder for folder, name in names.items()}
        rows = {folder[name]: tuple(row[lines[each]] for each in text.split("; ")) for name, text in words.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{where}: its mapping files do not fit together ({type(error).__name__}: {error}); take those of one release") from error
    return names, rows


def _source(reader: Any, run: Run) -> tuple[Source, str]:
    from components.data.names import shown
    from components.data.source import Source

    return Source.open(reader.url, reader.pinned, run), f"{type(reader).__name__} {shown(reader.url)}"


def _parents(source: Source) -> Sequence[tuple[str, File]]:
    """(the folder that it lies in, file) of each image that lies in one."""
    from components.data.names import is_image

    return [(file.name.split("/")[-2], file) for file in source.files if "/" in file.name and is_image(file.name)]


def _inner(image: Image, name: str) -> Image:
    return image[2:-2, 2:-2]
