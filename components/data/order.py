"""The order in which training meets its examples: a pure function of (seed, step, k), so any rank, resume or world size sees the same.

The stream is the concatenation of epochs, and each epoch is a permutation: a batch that crosses the end of an epoch takes its rest from
the next one, so nothing is dropped and nothing is padded. The permutation has two levels, shards of neighbours and a window of shards, so
that a source which can only be streamed yields the same order as one with random access; the largest array made is one window.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from components.data import chance

SHARD = 256  # neighbours that travel together
WINDOW = 128  # shards that are mixed: up to 32,768 examples are shuffled fully
Indices = NDArray[np.int64]


def batch(n: int, batch_size: int, seed: int, step: int) -> Indices:
    """The indices in [0, n) of step `step`: int64 [batch_size]. Every epoch holds each example exactly once."""
    if n < 1 or batch_size < 1 or step < 0:
        raise ValueError(f"no batch of {batch_size} of {n} examples at step {step}: all must be positive")
    places = np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64)
    epochs, offsets = np.divmod(places, n)
    indices = np.empty(batch_size, np.int64)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        here = epochs == epoch
        indices[here] = _at(n, seed, epoch, offsets[here])
    return indices


def seeds(batch_size: int, seed: int, step: int) -> NDArray[np.uint64]:
    """One seed for each example of step `step`: uint64 [batch_size], for augmentation and whatever else is drawn per example."""
    return chance.bits(seed, 2, step, np.arange(batch_size))


def _at(n: int, seed: int, epoch: int, offsets: Indices) -> Indices:
    _, edges = _shards(n, seed, epoch)
    windows = np.searchsorted(edges, offsets, side="right") - 1
    indices = np.empty(len(offsets), np.int64)
    for window in np.unique(windows):
        here = windows == window
        indices[here] = _window(n, seed, epoch, int(window))[offsets[here] - edges[window]]
    return indices


@lru_cache(maxsize=4)
def _shards(n: int, seed: int, epoch: int) -> tuple[Indices, Indices]:
    """The epoch's order of shards, and the offsets at which its windows begin."""
    order = np.argsort(chance.bits(seed, 0, epoch, np.arange(-(-n // SHARD))), kind="stable")
    sizes = np.minimum(SHARD, n - order * SHARD)
    return order, np.concatenate(([0], np.cumsum(sizes)[:-1]))[::WINDOW]


@lru_cache(maxsize=4)
def _window(n: int, seed: int, epoch: int, window: int) -> Indices:
    """The shuffled members of one window."""
    order, _ = _shards(n, seed, epoch)
    members = np.concatenate([np.arange(s * SHARD, min(n, (s + 1) * SHARD)) for s in order[window * WINDOW : (window + 1) * WINDOW]])
    return members[np.argsort(chance.bits(seed, 1, epoch, members), kind="stable")]
