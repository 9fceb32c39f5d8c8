"""Whether images that trained something else are those of the target: by their pixels, whatever they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated

from components.types import DataError, Dataset, Run, Table, revision

BATCH = 256


@revision(1)
def apart(auxiliary: Annotated[list[Dataset], "describes"], target: Annotated[list[Dataset], "avoids"], *, run: Run) -> Table:
    """One row: how many different images `auxiliary` and `target` hold, none of them in both. DataError that names one which is.

    Images are equal where their decoded pixels are; those of a single colour show nothing and do not count. A resized copy, or one compressed
    anew, is another image.
    """
    known = {print_: name for data in target for name, print_ in prints(data, run)}
    seen: set[bytes] = set()
    for data in auxiliary:
        for name, print_ in prints(data, run):
            if print_ in known:
                raise DataError(
                    f"the auxiliary data contains the target: its image {name} has the pixels of {known[print_]}; "
                    "leave that task out of the auxiliaries, or the image out of its data"
                )
            seen.add(print_)
    return Table(({"auxiliary": len(seen), "target": len(known)},))


def prints(data: Dataset, run: Run) -> Iterator[tuple[str, bytes]]:
    """(id, 16 bytes of the sha256 of shape and pixels) of each image that has more than one colour."""
    from components.evaluate import opened

    examples = opened(data, run)
    for start in range(0, len(examples), BATCH):
        indices = range(start, min(start + BATCH, len(examples)))
        for index, image in zip(indices, examples.images(indices), strict=True):
            if (image != image[:1, :1]).any():
                yield str(examples.ids[index]), hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()[:16]
