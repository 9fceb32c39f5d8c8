"""Every kind of image has one defined reading, or a reason why it has none."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from components.data.decode import Unreadable, decode, encode
from tests.components.data.pictures import encoded, photo

RAMP = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (8, 1))


def test_lossless_colour_is_exact() -> None:
    for kind in ("PNG", "BMP", "PPM", "TIFF", "GIF"):
        image = photo() if kind != "GIF" else np.repeat(RAMP[..., None], 3, 2)
        assert np.array_equal(decode(encoded(image, kind)), image), kind
    assert np.array_equal(decode(encode(photo())), photo())


def test_grey_is_repeated() -> None:
    assert np.array_equal(decode(encoded(RAMP)), np.repeat(RAMP[..., None], 3, 2))
    bits = Image.fromarray(RAMP).convert("1")
    assert set(np.unique(decode(encoded(bits)))) == {0, 255}


def test_16_bit_grey_keeps_its_upper_byte() -> None:
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(decode(encoded(deep, kind))[..., 0], RAMP), kind


def test_32_bit_pixels_have_no_white() -> None:
    for mode in ("I", "F"):
        with pytest.raises(Unreadable, match=f"32 bits .mode {mode}."):
            decode(encoded(Image.fromarray(RAMP).convert(mode), "TIFF"))


def test_cmyk_becomes_rgb() -> None:
    ink = Image.fromarray(np.full((8, 8, 4), (255, 0, 0, 0), np.uint8), "CMYK")
    red, green, blue = decode(encoded(ink, "TIFF"))[4, 4]
    assert red == 0 and green == 255 and blue == 255
    seen = decode(encoded(ink, "JPEG", quality=100))
    assert seen.shape == (8, 8, 3) and seen[4, 4, 0] < 5 and seen[4, 4, 1] > 250


def test_alpha_is_dropped_as_open_clip_does() -> None:
    rgba = np.dstack([photo(), np.full((12, 16), 9, np.uint8)])
    assert np.array_equal(decode(encoded(rgba)), photo())
    palette = Image.fromarray(RAMP).convert("P")
    transparent = encoded(palette, transparency=bytes(range(256)))
    assert np.array_equal(decode(transparent), np.asarray(palette.convert("RGB")))


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        seen = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
        assert seen.shape == (8, 8, 3) and (seen == (255, 0, 0)).all(), kind


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.zeros((8, 12, 3), np.uint8)
    upright[:4, :6] = 255  # top left
    turned = {1: 0, 2: "lr", 3: 180, 4: "ud", 5: "t", 6: 90, 7: "tt", 8: 270}[orientation]
    stored = {
        0: upright, "lr": upright[:, ::-1], 180: upright[::-1, ::-1], "ud": upright[::-1], "t": upright.transpose(1, 0, 2),
        90: np.rot90(upright), "tt": np.rot90(upright, 2).transpose(1, 0, 2), 270: np.rot90(upright, 3),
    }[turned]  # fmt: skip
    assert np.array_equal(decode(encoded(np.ascontiguousarray(stored), exif=exif)), upright)


def bomb(width: int, height: int) -> bytes:
    """A small PNG that claims to be large."""
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(9000, 9000), (30000, 30000), (2**31 - 1, 1)])
def test_decompression_bombs_are_refused(width: int, height: int) -> None:
    with pytest.raises(Unreadable, match="pixels"):
        decode(bomb(width, height))


def test_lines_are_refused() -> None:
    with pytest.raises(Unreadable, match="one side more than 1000 times the other"):
        decode(encoded(np.zeros((1, 1001, 3), np.uint8)))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_every_cut_is_noticed(kind: str) -> None:
    whole = encoded(photo(0, 40, 40), kind)
    for end in (0, 1, 10, len(whole) // 3, len(whole) * 3 // 4):
        with pytest.raises(Unreadable):
            decode(whole[:end])


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
@settings(deadline=None, max_examples=300)
@given(kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]), data=st.data())
def test_damage_never_raises_anything_else(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(photo(0, 12, 12), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode(bytes(content))
    except Unreadable as reason:
        assert str(reason) and "\n" not in str(reason)
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


@pytest.mark.parametrize("content", [b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"<svg/>", b"\0" * 100])
def test_other_formats_are_refused(content: bytes) -> None:
    with pytest.raises(Unreadable, match=r"empty file|not an image"):
        decode(content)


def test_a_real_jpeg_is_pillows() -> None:
    content = encoded(photo(0, 40, 40), "JPEG", quality=90)
    assert np.array_equal(decode(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
