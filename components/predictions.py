"""What a model answered on each example: the record from which scores, ensembles, diversity and paired tests are computed on a CPU."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.types import DataError, File, in_order

if TYPE_CHECKING:
    import numpy as np

NAME = "predictions.npz"


@dataclass(frozen=True, eq=False)
class Predictions:
    """One row an example, in the order of the dataset.

    ids: str [N], unique; labels: int64 [N], -1 where unknown; logits: float32 [N, K]; groups: int64 [N] or None; classes: K names or ().
    skipped: unreadable images within the source's budget, `name: reason`.
    """

    ids: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    groups: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def correct(self) -> np.ndarray:
        """bool [N]: the largest logit is the label's (ties go to the smaller class index)."""
        right: np.ndarray = self.logits.argmax(axis=1) == self.labels
        return right

    def summary(self) -> dict[str, Any]:
        """n examples, how many labelled, how many correct, the class names, and what was skipped."""
        return {
            "n": len(self),
            "labelled": int((self.labels >= 0).sum()),
            "correct": int(self.correct.sum()),
            "classes": list(self.classes),
            "skipped": list(self.skipped),
        }

    def save(self, url: str, map: Callable[..., Any] = in_order) -> list[File]:
        """Write the rows into the folder `url` as one npz."""
        import numpy as np

        from components.weights.destination import write

        arrays = {"ids": self.ids, "labels": self.labels, "logits": self.logits, "names": np.array(json.dumps([self.classes, self.skipped]))}
        if self.groups is not None:
            arrays["groups"] = self.groups
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        return [write(url, NAME, [buffer.getvalue()])]

    @classmethod
    def load(cls, url: str) -> Predictions:
        """Read what `save` wrote. Anything else is a DataError."""
        import fsspec
        import numpy as np

        path = f"{url.rstrip('/')}/{NAME}"
        with fsspec.open(path, "rb") as file:
            content = file.read()
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                groups = arrays.get("groups")
                classes, skipped = map(tuple, json.loads(str(arrays["names"])))
                return cls(arrays["ids"], arrays["labels"], arrays["logits"], groups, classes, skipped)
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{path} is not a record of predictions ({error}): remove its folder and run again") from error
