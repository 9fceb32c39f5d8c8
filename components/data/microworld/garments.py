"""Ten garments of random cut, as polygons (the class names are Fashion-MNIST's, arXiv:1708.07747; the drawings are ours)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from components.data.microworld.shapes import Drawing

VARIANTS = 48
Points = Sequence[tuple[float, float]]


def _mirror(right: Points) -> np.ndarray:
    """A symmetric outline from its right half, listed from the top of the axis to its bottom."""
    return np.array([*right, *[(-x, y) for x, y in reversed(right)]])


def _band(y: float, width: float, height: float, ink: float) -> tuple[np.ndarray, float]:
    return np.array([(-width, y), (width, y), (width, y + height), (-width, y + height)]), ink


def _trunk(rng: np.random.Generator, hem: float, sleeve: float, spread: float, width: float = 0.36) -> Drawing:
    """Shoulders, two sleeves that end at y = sleeve and stand out by `spread`, and a body down to the hem."""
    top, neck, cuff = rng.uniform(-0.85, -0.75), rng.uniform(0.12, 0.22), rng.uniform(0.13, 0.19)
    body = width * rng.uniform(0.9, 1.1)
    shoulder, arm = body + 0.06, body + spread
    tone = rng.uniform(0.55, 1.0)
    out = _mirror(
        [(0.0, top + 0.1), (neck, top), (shoulder, top + 0.1), (arm, sleeve), (arm - cuff, sleeve + 0.05), (body, top + 0.55), (body, hem)]
    )
    return [(out, tone)]


def _t_shirt(rng: np.random.Generator) -> Drawing:
    drawing = _trunk(rng, rng.uniform(0.7, 0.85), rng.uniform(-0.45, -0.25), rng.uniform(0.3, 0.42))
    if rng.random() < 0.4:  # a print on the chest
        drawing.append(_band(rng.uniform(-0.35, 0.0), rng.uniform(0.12, 0.25), rng.uniform(0.1, 0.3), rng.uniform(0.1, 0.4)))
    return drawing


def _pullover(rng: np.random.Generator) -> Drawing:
    drawing = _trunk(rng, rng.uniform(0.65, 0.8), rng.uniform(0.45, 0.7), rng.uniform(0.2, 0.34))
    if rng.random() < 0.5:
        drawing += [_band(y, 0.3, 0.05, rng.uniform(0.2, 0.5)) for y in (-0.3, 0.0, 0.3)]
    return drawing


def _shirt(rng: np.random.Generator) -> Drawing:
    short = rng.random() < 0.3
    drawing = _trunk(
        rng, rng.uniform(0.75, 0.88), rng.uniform(-0.3, 0.0) if short else rng.uniform(0.4, 0.65), rng.uniform(0.2, 0.32), 0.33
    )
    collar = np.array([(-0.2, -0.82), (0.0, -0.55), (0.2, -0.82), (0.12, -0.88), (0.0, -0.7), (-0.12, -0.88)])
    buttons = [(np.array([(-0.03, y), (0.03, y), (0.03, y + 0.06), (-0.03, y + 0.06)]), 0.1) for y in np.arange(-0.45, 0.7, 0.2)]
    return [*drawing, (collar, 0.25), *buttons]


def _coat(rng: np.random.Generator) -> Drawing:
    drawing = _trunk(rng, rng.uniform(0.85, 0.95), rng.uniform(0.5, 0.75), rng.uniform(0.16, 0.28), 0.42)
    lapel = np.array([(-0.18, -0.8), (0.0, -0.2), (0.18, -0.8)])
    return [*drawing, (lapel, 0.2), _band(-0.2, 0.025, 1.1, 0.05)]


def _dress(rng: np.random.Generator) -> Drawing:
    waist, flare, top = rng.uniform(0.12, 0.2), rng.uniform(0.3, 0.6), -0.92
    sleeve = [(0.4, -0.5), (0.28, -0.42)] if rng.random() < 0.4 else []
    out = _mirror(
        [(0.0, top + 0.16), (0.1, top), (0.24, top + 0.06), *sleeve, (0.2, -0.45), (waist, rng.uniform(-0.25, -0.05)), (flare, 0.92)]
    )
    return [(out, rng.uniform(0.55, 1.0))]


def _trouser(rng: np.random.Generator) -> Drawing:
    waist, ankle, gap, stand = rng.uniform(0.24, 0.34), rng.uniform(0.1, 0.2), rng.uniform(0.02, 0.1), rng.uniform(0.0, 0.14)
    crotch = rng.uniform(-0.5, -0.25)
    out = _mirror(
        [(0.0, -0.92), (waist, -0.92), (waist + 0.06, crotch), (gap + ankle + stand + 0.08, 0.92), (gap + stand, 0.92), (0.0, crotch + 0.1)]
    )
    return [(out, rng.uniform(0.55, 1.0))]


def _bag(rng: np.random.Generator) -> Drawing:
    w, top, bottom, slant = rng.uniform(0.6, 0.85), rng.uniform(-0.3, 0.0), rng.uniform(0.55, 0.8), rng.uniform(-0.12, 0.12)
    t = np.linspace(0, np.pi, 20)
    reach, rise = rng.uniform(0.3, 0.55), rng.uniform(0.4, 0.65)
    arch = np.stack([reach * np.cos(t), top - rise * np.sin(t)], 1)
    hole = np.stack([(reach - 0.1) * np.cos(t), top - (rise - 0.1) * np.sin(t)], 1)
    body = _mirror([(0.0, top), (w, top), (w + slant, bottom), (0.0, bottom)])
    return [(arch, 0.7), (hole, 0.0), (body, rng.uniform(0.6, 1.0)), _band(top + 0.12, w * 0.9, 0.05, rng.uniform(0.2, 0.5))]


def _shoe(rng: np.random.Generator, collar: float, heel: float, toe: float) -> Drawing:
    """A shoe pointing left: `collar` is the height of its opening, `heel` of its heel."""
    sole, tone = rng.uniform(0.36, 0.46), rng.uniform(0.55, 1.0)
    upper = np.array(
        [(-0.9, sole), (-0.88, sole - toe), (-0.5, sole - toe - 0.16), (-0.05, collar + 0.12), (0.1, collar), (0.8, collar), (0.86, sole)]
    )
    base = np.array(
        [(-0.92, sole), (0.88, sole), (0.88, sole + 0.12 + heel), (0.5, sole + 0.12 + heel), (0.35, sole + 0.12), (-0.9, sole + 0.12)]
    )
    return [(upper, tone), (base, rng.uniform(0.4, 1.0))]


def _sneaker(rng: np.random.Generator) -> Drawing:
    drawing = _shoe(rng, rng.uniform(-0.2, 0.0), 0.0, rng.uniform(0.15, 0.25))
    lace = rng.uniform(0.1, 0.4)
    return [*drawing, *[(np.array([(x, 0.05), (x + 0.14, -0.05), (x + 0.18, 0.0), (x + 0.04, 0.12)]), lace) for x in (-0.4, -0.22, -0.04)]]


def _ankle_boot(rng: np.random.Generator) -> Drawing:
    return _shoe(rng, rng.uniform(-0.85, -0.6), rng.uniform(0.0, 0.28), rng.uniform(0.18, 0.3))


def _sandal(rng: np.random.Generator) -> Drawing:
    heel, sole, tone = rng.uniform(0.0, 0.4), rng.uniform(0.3, 0.4), rng.uniform(0.6, 1.0)
    base = np.array(
        [
            (-0.9, sole),
            (-0.3, sole),
            (0.85, sole - heel),
            (0.88, sole + 0.12),
            (0.7, sole + 0.12),
            (0.62, sole - heel + 0.2),
            (-0.9, sole + 0.1),
        ]
    )
    straps = [
        np.array([(x, sole), (x + rng.uniform(0.1, 0.3), y), (x + rng.uniform(0.32, 0.5), y + 0.05), (x + 0.14, sole)])
        for x, y in zip(np.linspace(-0.75, 0.35, 3), sole - rng.uniform(0.3, 0.75, 3), strict=True)
    ]
    return [(base, tone), *[(strap, tone * rng.uniform(0.6, 1.0)) for strap in straps]]


DRAW: Mapping[str, Callable[[np.random.Generator], Drawing]] = {
    "t-shirt": _t_shirt,
    "trouser": _trouser,
    "pullover": _pullover,
    "dress": _dress,
    "coat": _coat,
    "sandal": _sandal,
    "shirt": _shirt,
    "sneaker": _sneaker,
    "bag": _bag,
    "ankle boot": _ankle_boot,
}
