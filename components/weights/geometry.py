"""Lengths and angles in weight space: inner products of checkpoints, streamed in bounded memory.

Every tensor is cut into slabs of one size, whose products are summed in their order: neither threads nor the size of a read show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from components.weights.agreement import HEAD, MODEL, OBJECTIVE
from components.weights.layout import AVERAGED, DTYPES, Layout, raw_bytes, widen
from components.weights.parts import Part
from components.weights.plan import STATISTICS
from components.weights.space import Checkpoint

SLAB = 1 << 16  # values of a tensor that are multiplied at once
ROOM = 1 << 23  # bytes of all checkpoints together that a thread reads at once
THREADS = 2
Vectors = Callable[[np.ndarray], np.ndarray]  # float64 [checkpoints, n] -> float64 [vectors, n]


def itself(values: np.ndarray) -> np.ndarray:
    """The checkpoints as they are."""
    return values


def moves(values: np.ndarray) -> np.ndarray:
    """Task vectors: every checkpoint but the first, less the first. Ilharco et al. 2023, arXiv:2212.04089."""
    moved: np.ndarray = values[1:] - values[0]
    return moved


def products(vectors: np.ndarray) -> np.ndarray:
    """All inner products of the rows of `vectors` [R, n]: [R, R]. What is not finite stays so, without a warning."""
    with np.errstate(invalid="ignore", over="ignore"):
        gram: np.ndarray = vectors @ vectors.T
    return gram


def cosines(gram: np.ndarray) -> np.ndarray:
    """The cosines of the vectors with these inner products [R, R]; 0 where one of them has no length."""
    squares = np.diag(gram)
    scale = np.sqrt(np.outer(squares, squares))  # of equal vectors exactly their product: the cosine is then 1
    found: np.ndarray = np.divide(gram, scale, out=np.zeros_like(gram), where=scale > 0).clip(-1, 1)
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

    `vectors` gets at most SLAB values of each model at a time. DataError where a file ends early.
    """
    wanted = set(measured(models) if keys is None else keys)
    found: dict[str, np.ndarray] = {}
    for role in (MODEL, HEAD, OBJECTIVE):
        if all(role in model.parts for model in models):
            _sum(found, [model.parts[role] for model in models], vectors, wanted)
    return found


@dataclass(frozen=True)
class _Piece:
    """Values [low, low + count) of a tensor, and where they begin in each file."""

    key: str
    low: int
    count: int
    starts: list[int]
    stops: list[int]


def _sum(found: dict[str, np.ndarray], parts: Sequence[Part], vectors: Vectors, wanted: set[str]) -> None:
    def one(batch: list[_Piece]) -> list[tuple[str, np.ndarray]]:
        begins, ends = batch[0].starts, batch[-1].stops
        raw = [np.empty(end - begin, np.uint8) for begin, end in zip(begins, ends, strict=True)]
        for part, begin, buffer in zip(parts, begins, raw, strict=True):
            part.reader().read(begin, raw_bytes(buffer))
        values = np.empty((len(parts), min(SLAB, max(piece.count for piece in batch))))
        grams = []
        for piece in batch:
            for low in range(0, max(1, piece.count), SLAB):
                slab = values[:, : min(SLAB, piece.count - low)]
                for row, part, start, begin, buffer in zip(slab, parts, piece.starts, begins, raw, strict=True):
                    dtype = DTYPES[part.layout[piece.key].dtype]
                    at = start - begin + low * dtype.itemsize
                    row[:] = widen(buffer[at : at + len(row) * dtype.itemsize].view(dtype))
                grams.append((piece.key, products(vectors(slab))))
        return grams

    with ThreadPoolExecutor(THREADS) as pool:
        for grams in pool.map(one, list(_batches(parts, wanted))):
            for key, gram in grams:
                found[key] = found[key] + gram if key in found else gram


def _batches(parts: Sequence[Part], wanted: set[str]) -> Iterator[list[_Piece]]:
    """Pieces that follow each other in every file, as many as are read at once: small tensors do not cost a request each."""
    most = max(SLAB, ROOM // (4 * len(parts)) // SLAB * SLAB)
    batch: list[_Piece] = []
    for key in sorted(wanted & parts[0].layout.keys(), key=lambda key: parts[0].layout[key].start):
        entries = [part.layout[key] for part in parts]
        for low in range(0, max(1, entries[0].count), most):
            count = min(most, entries[0].count - low)
            starts = [entry.start + low * DTYPES[entry.dtype].itemsize for entry in entries]
            stops = [start + count * DTYPES[entry.dtype].itemsize for start, entry in zip(starts, entries, strict=True)]
            piece = _Piece(key, low, count, starts, stops)
            if batch and (batch[-1].stops != starts or sum(each.count for each in batch) + count > most):
                yield batch
                batch = []
            batch.append(piece)
    if batch:
        yield batch


def total(grams: Mapping[str, np.ndarray]) -> np.ndarray:
    """The inner products over several tensors together, summed in the order of their names."""
    summed: np.ndarray = np.sum([grams[key] for key in sorted(grams)], axis=0)
    return summed
