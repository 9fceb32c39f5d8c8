"""Ten shapes as polygons. A drawing is a list of (points [n, 2] in [-1, 1]^2 with y down, ink in [0, 1]), painted in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Drawing = list[tuple[np.ndarray, float]]
VARIANTS = 12
SIZE = 0.72


def polygon(corners: int, turn: float = 0.0, inner: float | None = None) -> np.ndarray:
    """A regular polygon, or with `inner` a star of that inner radius; the first corner points up."""
    n = corners if inner is None else 2 * corners
    angle = turn + 2 * np.pi * np.arange(n) / n - np.pi / 2
    radius = np.where(np.arange(n) % 2 == 0, 1.0, 1.0 if inner is None else inner)
    corner: np.ndarray = SIZE * radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return corner


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 48)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return SIZE * np.stack([x, y], 1) / 17


def _arrow(rng: np.random.Generator) -> np.ndarray:
    shaft, neck = rng.uniform(0.12, 0.28), rng.uniform(-0.2, 0.2)
    half = [(0, -1), (0.75, neck), (shaft, neck), (shaft, 1)]
    return SIZE * np.array(half + [(-x, y) for x, y in reversed(half)])


def _cross(rng: np.random.Generator) -> np.ndarray:
    a = rng.uniform(0.2, 0.38)
    quarter = np.array([(a, -1), (a, -a), (1, -a)])
    turns = [np.array([[np.cos(k), np.sin(k)], [-np.sin(k), np.cos(k)]]) for k in np.pi / 2 * np.arange(4)]
    return SIZE * np.concatenate([quarter @ turn for turn in turns])


def _moon(rng: np.random.Generator) -> np.ndarray:
    t = np.linspace(-2.2, 2.2, 32)
    outer = np.stack([-np.cos(t), np.sin(t)], 1)
    depth = 2 * rng.uniform(0.2, 0.5) * np.cos(np.linspace(np.pi / 2, -np.pi / 2, 24))
    bite = np.stack([outer[-1, 0] - depth, np.linspace(outer[-1, 1], outer[0, 1], 24)], 1)
    return SIZE * np.concatenate([outer, bite])


def _solid(make: Callable[[np.random.Generator], np.ndarray]) -> Callable[[np.random.Generator], Drawing]:
    """Filled, or hollow one time in three, a little stretched."""

    def draw(rng: np.random.Generator) -> Drawing:
        points = make(rng) * rng.uniform(0.88, 1.12, 2)
        hole = [(points * rng.uniform(0.62, 0.78), 0.0)] if rng.random() < 1 / 3 else []
        return [(points, 1.0), *hole]

    return draw


def _ring(rng: np.random.Generator) -> Drawing:
    circle = polygon(40)
    return [(circle, 1.0), (circle * rng.uniform(0.45, 0.8), 0.0)]


def _disc(rng: np.random.Generator) -> Drawing:
    return [(polygon(40) * rng.uniform(0.9, 1.1), 1.0)]


DRAW: Mapping[str, Callable[[np.random.Generator], Drawing]] = {
    "circle": _disc,
    "ring": _ring,
    "square": _solid(lambda rng: polygon(4, np.pi / 4)),
    "triangle": _solid(lambda rng: polygon(3)),
    "diamond": _solid(lambda rng: polygon(4) * (rng.uniform(0.55, 0.75), 1.1)),
    "star": _solid(lambda rng: polygon(5, inner=rng.uniform(0.36, 0.5))),
    "heart": _solid(lambda rng: _heart()),
    "cross": _solid(_cross),
    "arrow": _solid(_arrow),
    "moon": _solid(_moon),
}
