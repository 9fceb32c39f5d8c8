"""Random bits as a pure function of integer keys: no state, no order of calls, the same on every machine and every numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Key = int | NDArray[np.int64] | NDArray[np.uint64]


def bits(*keys: Key) -> NDArray[np.uint64]:
    """64 bits for each combination of the keys, which broadcast; SplitMix64's finaliser, chained (Steele, Lea and Flood 2014)."""
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            word = np.asarray(key & (2**64 - 1), np.uint64) if isinstance(key, int) else np.asarray(key).astype(np.uint64)
            state = (state + np.uint64(0x9E3779B97F4A7C15)) ^ word
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray(state)


def uniform(*keys: Key) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), 53 bits each, one for each combination of the keys."""
    return np.asarray((bits(*keys) >> np.uint64(11)) * 2.0**-53)


def seed(text: str) -> int:
    """The first 8 bytes of sha256(text): what makes an example's randomness its own."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def position(ids: Iterable[str]) -> NDArray[np.float64]:
    """Where each example id lies in [0, 1): `seed(id) / 2**64`, its first 53 bits. Splits are ranges of it."""
    return np.array([seed(str(name)) >> 11 for name in ids], np.float64) * 2.0**-53
