"""Named arrays that were computed from a model and data: made once, stored, and used by as many merges as want them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from components.types import DataError, File, in_order
from components.weights import destination, files

if TYPE_CHECKING:
    import numpy as np

    from components.weights.layout import Layout
    from components.weights.parts import Part
    from components.weights.space import Checkpoint

TENSORS, FACTS = "statistics.safetensors", "statistics.json"
FORMAT = 1


class Statistics:
    """Arrays by the name of the parameter that they are about, and the facts of how they came to be; read when they are asked for."""

    def __init__(self, url: str, check: bool = False) -> None:
        """check: compare all bytes with the recorded digest before they are used."""
        self.url, self._check = url, check

    def __repr__(self) -> str:
        return f"Statistics({self.url!r})"

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Statistics:
        """Statistics in memory."""
        from components.weights.parts import Memory

        one = cls("")
        one.__dict__["_opened"] = (Memory(arrays, f"{facts.get('is', 'statistics')} in memory"), dict(facts))
        return one

    @cached_property
    def _opened(self) -> tuple[Part, dict[str, Any]]:
        from components.weights.parts import Stored

        config = files.document(files.join(self.url, FACTS))
        if config is None:
            raise ValueError(f"no statistics at {self.url}: {FACTS} is missing; give a folder that fisher or gram saved")
        if config.get("format") != FORMAT:
            raise ValueError(f"{self.url} has statistics of format {config.get('format')}, this stockpot reads {FORMAT}: compute them again")
        try:
            ((name, size, digest),) = config["files"]
            record, facts = File(str(name), int(size), str(digest)), dict(config["facts"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{files.join(self.url, FACTS)} is not as we write it ({error}); compute the statistics again") from error
        address = files.join(self.url, TENSORS)
        part = Stored(address, address, record, self._check)
        if self._check:
            part.verify()
        return part, facts

    @property
    def part(self) -> Part:
        """The file of arrays."""
        return self._opened[0]

    @property
    def facts(self) -> dict[str, Any]:
        """What they are, of which model (its digest), from how many examples (JSON)."""
        return self._opened[1]

    def array(self, key: str) -> np.ndarray:
        """One array, in its own dtype and shape."""
        return read(self.part, key)

    def summary(self) -> dict[str, Any]:
        """The facts, the digest, and how many arrays there are."""
        return {**self.facts, "digest": self.part.digest, "arrays": len(self.part.layout)}

    def save(self, url: str, map: Callable[..., Any] = in_order) -> list[File]:
        """Write the arrays, then the facts that name their digest. `map` is accepted as for every payload; one pass does not need it."""
        return write(url, self.part.layout, self.array, self.facts)

    @classmethod
    def load(cls, url: str) -> Statistics:
        """The statistics at a URL, checked against their record when they are first used."""
        return cls(url, check=True)


def write(url: str, layout: Layout, make: Callable[[str], np.ndarray], facts: Mapping[str, Any]) -> list[File]:
    """Save what `make(key)` gives for each entry of a layout, one array at a time."""
    from components.weights.layout import DTYPES, arrange, raw_bytes, render

    placed = arrange({key: (entry.dtype, entry.shape) for key, entry in layout.items()})

    def pieces() -> Iterable[files.Bytes]:
        for key, entry in placed.items():
            array = make(key).astype(DTYPES[entry.dtype], order="C", copy=False)
            if array.size:
                yield raw_bytes(array)

    written = destination.write(url, TENSORS, chain([render(placed)], pieces()))
    config = {"format": FORMAT, "facts": dict(facts), "files": [[written.name, written.size, written.digest]]}
    text = json.dumps(config, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    return [written, destination.write(url, FACTS, [text.encode()])]


def read(part: Part, key: str, low: int = 0, count: int | None = None) -> np.ndarray:
    """An array of a file in its own dtype (bfloat16 widened) and shape, or flat, the `count` values from number `low` on."""
    import numpy as np

    from components.weights.layout import DTYPES, raw_bytes, widen

    entry = part.layout[key]
    dtype = DTYPES[entry.dtype]
    found = np.empty(entry.count if count is None else count, dtype)
    if found.size:
        with closing(part.reader()) as reader:
            reader.read(entry.start + low * dtype.itemsize, raw_bytes(found))
    wide = widen(found)
    return wide.reshape(entry.shape) if count is None else wide


def agree(models: Sequence[Checkpoint], statistics: Sequence[Statistics], kind: str) -> None:
    """ValueError where there is not one for each model, of that kind and that very model, about the same tensors."""
    if not models or len(models) != len(statistics):
        raise ValueError(f"{len(models)} models and {len(statistics)} {kind} statistics: give one or more models, and the statistics of each")
    for i, (model, one) in enumerate(zip(models, statistics, strict=True)):
        if one.facts.get("is") != kind:
            raise ValueError(f"statistics {i} are {one.facts.get('is')!r}, not {kind!r}: give what {kind} computed")
        if one.facts.get("model") not in (None, model.digest):  # a combination's has no digest
            raise ValueError(f"statistics {i} are of another model than {model!r}: give each model's own, in the order of the models")
        if odd := sorted(set(statistics[0].part.layout) ^ set(one.part.layout)):
            raise ValueError(f"statistics 0 and {i} are not about the same tensors, e.g. {odd[0]}: compute all from one kind of model")
