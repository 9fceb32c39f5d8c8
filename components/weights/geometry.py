"""Lengths and angles in weight space: inner products of checkpoints, streamed in bounded memory by the engine's own pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from fractions import Fraction

import numpy as np

from components.weights.agreement import HEAD, MODEL, OBJECTIVE
from components.weights.coefficients import ONE
from components.weights.layout import AVERAGED, Layout
from components.weights.plan import STATISTICS, Plan, Slot, Source
from components.weights.scan import Scan
from components.weights.space import Checkpoint

Vectors = Callable[[np.ndarray], np.ndarray]  # float64 [checkpoints, n], may be overwritten -> float64 [vectors, n]


def itself(values: np.ndarray) -> np.ndarray:
    """The checkpoints as they are."""
    return values


def moves(values: np.ndarray) -> np.ndarray:
    """Task vectors: every checkpoint but the first, less the first. Ilharco et al. 2023, arXiv:2212.04089."""
    moved: np.ndarray = np.subtract(values[1:], values[0], out=values[1:])
    return moved


def cosines(gram: np.ndarray) -> np.ndarray:
    """The cosines of the vectors with these inner products [R, R]; 0 where one of them has no length, or none that is finite."""
    squares = np.diag(gram)
    with np.errstate(invalid="ignore", over="ignore"):
        scale = np.sqrt(np.outer(squares, squares))  # of equal vectors exactly their product: the cosine is then 1
    known = (scale > 0) & np.isfinite(gram) & np.isfinite(scale)
    found: np.ndarray = np.divide(gram, scale, out=np.zeros_like(gram), where=known).clip(-1, 1)
    return found


def measured(models: Sequence[Checkpoint]) -> list[str]:
    """The tensors that have a place in weight space: floating, in every model, in one shape; BatchNorm statistics are not weights."""
    first, *others = [layout(model) for model in models]
    return [
        key
        for key, entry in first.items()
        if all(key in other and other[key].shape == entry.shape and other[key].dtype in AVERAGED for other in (first, *others))
        and not any(fnmatchcase(key, pattern) for pattern in STATISTICS)
    ]


def layout(model: Checkpoint) -> Layout:
    """The tensors of all files of a model."""
    return {key: entry for role in (MODEL, HEAD, OBJECTIVE) if role in model.parts for key, entry in model.parts[role].layout.items()}


def grams(models: Sequence[Checkpoint], vectors: Vectors = itself, keys: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The inner products [R, R] of what `vectors` makes of the models, in float64, for each of the keys (None: all that are `measured`).

    `vectors` gets a slab of each model at a time. A tensor without values has no products. DataError where a file ends early.
    """
    wanted = measured(models) if keys is None else keys
    plans = []
    for role in (MODEL, HEAD, OBJECTIVE):
        if all(role in model.parts for model in models):
            sources = [Source(model.parts[role].label, model.parts[role], ONE) for model in models]
            here = {key: sources[0].part.layout[key] for key in wanted if key in sources[0].part.layout}
            slots = [_slot(key, sources) for key in sorted(here, key=lambda key: here[key].start)]
            plans.append(Plan(sources, here, slots, {}))
    return scanned(Scan(plans, tuple(range(len(models)))), vectors)


def _slot(key: str, sources: Sequence[Source]) -> Slot:
    entries = [source.part.layout[key] for source in sources]
    return Slot("blended", [(key, entries[0].count)], entries[0], [(i, Fraction(1), entry) for i, entry in enumerate(entries)])


def scanned(scan: Scan, vectors: Vectors = itself) -> dict[str, np.ndarray]:
    """The inner products [R, R] of what `vectors` makes of the values, for each tensor: what a method prepares from."""

    def visit(key: str, low: int, values: Sequence[np.ndarray]) -> tuple[str, np.ndarray]:
        rows = vectors(np.stack(values))
        return key, rows @ rows.T

    found: dict[str, np.ndarray] = {}
    for key, gram in scan(visit):
        found[key] = found[key] + gram if key in found else gram
    return found


def total(grams: Mapping[str, np.ndarray]) -> np.ndarray:
    """The inner products over several tensors together, summed in the order of their names."""
    summed: np.ndarray = np.sum([grams[key] for key in sorted(grams)], axis=0)
    return summed
