"""From encoded bytes to RGB pixels: one definition for every format, and a reason for what cannot be read.

As open_clip reads them: the first frame, alpha dropped (the colours beneath it stay), CMYK by its plain complement. Beyond it: EXIF
orientation is applied, as every viewer does, and 16-bit grey keeps its upper byte instead of being clipped to white.
"""

from __future__ import annotations

import io
import struct
import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")  # none that starts another program
MOST_PIXELS = 1 << 26
MOST_BYTES = 1 << 28
LONGEST_SIDE = 1000  # times the shorter: resized to its shorter side, a line of pixels would fill the memory


class Unreadable(Exception):
    """An image that cannot be used; the message is the reason."""


def decode(content: bytes) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of an encoded image; Unreadable with the reason where it is none, is cut short or is too large."""
    if not content:
        raise Unreadable("empty file")
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as picture:
            check(picture.size)
            return np.array(_converted(ImageOps.exif_transpose(picture)))
    except Image.DecompressionBombError as error:
        raise Unreadable("more pixels than any image has") from error
    except UnidentifiedImageError as error:
        raise Unreadable("not an image in a known format") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error) as error:
        # what Pillow's readers raise on damaged files; bugs of ours lie outside
        raise Unreadable(f"damaged ({' '.join(str(error).split()) or type(error).__name__})") from error


def rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of an array [H, W, 1 or 3]."""
    return np.repeat(image, 3 // image.shape[2], axis=2)


def check(size: tuple[int, int]) -> None:
    """Refuse a size (width, height) that would fill the memory."""
    if size[0] * size[1] > MOST_PIXELS:
        raise Unreadable(f"{size[0]} x {size[1]} pixels, more than {MOST_PIXELS}")
    if max(size) > LONGEST_SIDE * max(1, min(size)) or min(size) < 1:
        raise Unreadable(f"{size[0]} x {size[1]} pixels, one side more than {LONGEST_SIDE} times the other")


def encode(image: NDArray[np.uint8]) -> bytes:
    """A lossless encoding that `decode` reads."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


@lru_cache
def _formats() -> list[str]:
    """Those of FORMATS that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _converted(picture: Image.Image) -> Image.Image:
    mode = picture.mode
    if mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if mode in ("I", "F"):
        raise Unreadable(f"pixels of 32 bits (mode {mode}) have no defined white; save it with 8 or 16 bits")
    if mode in ("P", "PA"):
        picture = picture.convert("RGBA")
    return picture.convert("RGB")
