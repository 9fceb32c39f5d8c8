"""The vector drawings of the microworld, rasterised once: digits in many fonts, garments of random cut, shapes."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np

from components.data.digits import CLASSES as DIGITS
from components.data.microworld import garments, shapes

GLYPHS = {"digits": tuple("0123456789"), "letters": tuple("AEFHKMNRTX")}
SIDE = 40  # pixels of a drawing; a little more than the 32 of an image, so that a scaled copy loses no stroke


# matplotlib ships these; the held-out ones are designs of their own (three Computer Moderns, Times italic), not weights of a training font
HELD_OUT = ("cmss10", "cmtt10", "cmti10", "STIXGeneralItalic")
TRAIN = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic")),
    *("STIXGeneral", "STIXGeneralBol", "cmr10", "cmb10"),
)


@lru_cache(maxsize=4)
def drawings(subject: str, fonts: str = "train") -> np.ndarray:
    """Ink in [0, 1], float32 [classes, variants, SIDE, SIDE], of "digits" or "letters" (a variant is a font), "garments" or "shapes"."""
    if subject in GLYPHS:
        return np.stack([np.stack([_glyph(font, text) for font in (TRAIN if fonts == "train" else HELD_OUT)]) for text in GLYPHS[subject]])
    source = garments if subject == "garments" else shapes
    rng = np.random.default_rng(7)
    return np.stack([np.stack([_raster(draw(rng)) for _ in range(source.VARIANTS)]) for draw in source.DRAW.values()])


def names(subject: str) -> tuple[str, ...]:
    """Class names of a subject, in label order."""
    if subject == "letters":
        return tuple(letter.lower() for letter in GLYPHS["letters"])
    return DIGITS if subject == "digits" else tuple((garments if subject == "garments" else shapes).DRAW)


def font(name: str) -> str:
    """The file of a font that matplotlib ships."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("the microworld draws digits in the fonts that matplotlib ships: pip install matplotlib")
    return str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf")


def _glyph(name: str, text: str) -> np.ndarray:
    """One character, its box scaled to 0.75 of the drawing's height and centred."""
    from PIL import Image, ImageDraw, ImageFont

    face = ImageFont.truetype(font(name), 128)
    left, top, right, bottom = face.getbbox(text)
    canvas = Image.new("L", (round(right - left), round(bottom - top)))
    ImageDraw.Draw(canvas).text((-left, -top), text, fill=255, font=face)
    size = 0.75 * SIDE / max(canvas.size)
    small = canvas.resize([max(2, round(s * size)) for s in canvas.size], Image.Resampling.BOX)
    page = Image.new("L", (SIDE, SIDE))
    page.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return np.asarray(page, dtype=np.float32) / 255


def _raster(strokes: shapes.Drawing) -> np.ndarray:
    """Polygons in [-1, 1]^2 with their ink, painted in order at four times the resolution."""
    from PIL import Image, ImageDraw

    page = Image.new("L", (4 * SIDE, 4 * SIDE))
    pen = ImageDraw.Draw(page)
    for points, ink in strokes:
        pen.polygon([tuple((p + 1) * 2 * SIDE) for p in np.asarray(points)], fill=round(255 * ink))
    return np.asarray(page.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32) / 255
