"""What differs between two checkpoints: lengths and angles by layer, tensors that do not correspond, specifications."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from components.weights import Checkpoint

if TYPE_CHECKING:
    import numpy as np

SPECIFICATION = ("kind", "model_cfg", "preprocess_cfg", "classes", "prompts", "ancestry")
BLOCK = 1 << 24  # bytes compared at once


@dataclass(frozen=True)
class Apart:
    """Two models over some tensors: the lengths of a and b, of b - a, and the cosine, None where one has no length.

    moved, along: the lengths of a - base and b - base, and their cosine.
    """

    name: str
    tensors: int
    norms: tuple[float, float]
    distance: float
    cosine: float | None
    moved: tuple[float, float] | None = None
    along: float | None = None

    @property
    def relative(self) -> float:
        """The distance as a part of the length of a."""
        return self.distance / self.norms[0] if self.norms[0] else float("inf") if self.distance else 0.0


@dataclass(frozen=True)
class Difference:
    """whole, layers, tensors: over the weights that correspond and are finite, layers from the input to the output. The rest by name."""

    whole: Apart
    layers: tuple[Apart, ...]
    tensors: tuple[Apart, ...]
    missing: tuple[tuple[str, ...], tuple[str, ...]]  # only in b, only in a
    shapes: Mapping[str, tuple[Sequence[int], Sequence[int]]]
    dtypes: Mapping[str, tuple[str, str]]
    buffers: tuple[str, ...]  # integers, masks and BatchNorm statistics with unequal values
    not_finite: tuple[str, ...]
    specification: Mapping[str, tuple[str, str]]
    ancestor: str  # which of the two the other descends from, "a" or "b"; "" for neither


def difference(a: Checkpoint, b: Checkpoint, base: Checkpoint | None = None) -> Difference:
    """Compare two checkpoints; with a base also the directions in which they moved from it. Any two can be compared.

    Memory does not grow with the models. DataError where a file is not what its header says.
    """
    import numpy as np

    from components.weights import geometry
    from components.weights.depth import layer

    here, there = geometry.layout(a), geometry.layout(b)
    common = [key for key in here if key in there]
    shapes = {key: (here[key].shape, there[key].shape) for key in common if here[key].shape != there[key].shape}
    dtypes = {key: (here[key].dtype, there[key].dtype) for key in common if here[key].dtype != there[key].dtype}
    weights = geometry.measured([a, b])
    known = geometry.measured([a, b, base]) if base else []
    grams = geometry.grams([a, b], _ends, [key for key in weights if key not in known])
    grams |= geometry.grams([a, b, base], _ends, known) if base else {}
    finite = {key: gram for key, gram in grams.items() if np.isfinite(gram).all()}
    layers: dict[Any, list[str]] = {}
    for key in sorted(finite, key=lambda key: (layer(key), key)):
        layers.setdefault(layer(key), []).append(key)
    return Difference(
        _apart("all", finite, list(finite)),
        tuple(_apart(one.name, finite, keys) for one, keys in layers.items()),
        tuple(_apart(key, finite, [key]) for keys in layers.values() for key in keys),
        (tuple(key for key in there if key not in here), tuple(key for key in here if key not in there)),
        shapes,
        dtypes,
        tuple(sorted(key for key in common if key not in {*weights, *shapes, *dtypes} and not _equal(a, b, key))),
        tuple(sorted(key for key in grams if key not in finite)),
        {path: pair for key in SPECIFICATION for path, pair in _unlike(a.spec.get(key), b.spec.get(key), key)} | _side_files(a, b),
        _ancestor(a, b),
    )


def _ends(values: np.ndarray) -> np.ndarray:
    """a, b, b - a, and with a base a - base and b - base."""
    import numpy as np

    a, b, *base = values
    return np.stack([a, b, b - a, *(each - base[0] for each in (a, b) if base)])


def _apart(name: str, grams: Mapping[str, np.ndarray], keys: Sequence[str]) -> Apart:
    """Over the tensors together; the moves over those that the base has as well."""
    import numpy as np

    from components.weights.geometry import cosines, total

    if not keys:
        return Apart(name, 0, (0.0, 0.0), 0.0, None)

    def angled(gram: np.ndarray) -> tuple[float, float, float | None]:
        one, other = (float(x) for x in np.sqrt(np.diag(gram))[:2])
        return one, other, float(cosines(gram)[0, 1]) if one and other else None

    ends = total({key: grams[key][:3, :3] for key in keys})
    a, b, cosine = angled(ends)
    apart = Apart(name, len(keys), (a, b), float(np.sqrt(ends[2, 2])), cosine)
    known = {key: grams[key][3:, 3:] for key in keys if len(grams[key]) > 3}
    if not known:
        return apart
    a, b, cosine = angled(total(known))
    return replace(apart, moved=(a, b), along=cosine)


def _equal(a: Checkpoint, b: Checkpoint, key: str) -> bool:
    """Whether the stored bytes of a tensor are the same."""
    places = [(part, part.layout[key]) for model in (a, b) for part in model.parts.values() if key in part.layout]
    size = places[0][1].stop - places[0][1].start
    for low in range(0, size, BLOCK):
        read = []
        for part, entry in places:
            buffer = bytearray(min(BLOCK, size - low))
            with closing(part.reader()) as reader:
                reader.read(entry.start + low, memoryview(buffer))
            read.append(buffer)
        if read[0] != read[1]:
            return False
    return True


def _ancestor(a: Checkpoint, b: Checkpoint) -> str:
    if a.spec.get("ancestry") != b.spec.get("ancestry"):
        return ""
    for name, one, other in (("a", a, b), ("b", b, a)):
        mine, others = one.parts.get("model"), other.parts.get("model")
        if mine and others and mine.digest == one.spec.get("ancestry") != others.digest:
            return name
    return ""


def _unlike(here: Any, there: Any, path: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Where two parts of a specification differ, as short texts; what is absent, null or false is the same."""
    if (here or None) == (there or None) or (isinstance(here, Sequence) and isinstance(there, Sequence) and list(here) == list(there)):
        return
    if all(each is None or isinstance(each, Mapping) for each in (here, there)):
        for key in {**(here or {}), **(there or {})}:
            yield from _unlike((here or {}).get(key), (there or {}).get(key), f"{path}.{key}")
    elif isinstance(here, list | tuple) and isinstance(there, list | tuple) and len(here) == len(there) > 4:
        at = [i for i, (one, other) in enumerate(zip(here, there, strict=True)) if one != other]
        yield f"{path}[{at[0]}]" + (f" and {len(at) - 1} more" if len(at) > 1 else ""), (_short(here[at[0]]), _short(there[at[0]]))
    else:
        yield path, (_short(here), _short(there))


def _short(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) > 4:
        return f"{len(value)} entries"
    text = "none" if value in (None, False) else ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 30 else f"{text[:24]} ..."


def _side_files(a: Checkpoint, b: Checkpoint) -> dict[str, tuple[str, str]]:
    found = {}
    for name in {**a.extras, **b.extras}:
        here, there = a.extras.get(name), b.extras.get(name)
        if here != there:
            found[name] = tuple("none" if each is None else f"{len(each)} bytes" for each in (here, there))
    return found  # type: ignore[return-value]
