"""The safetensors format: a strict reader of headers, and the one layout in which we write.

https://huggingface.co/docs/safetensors: 8 bytes with the header's length, a JSON header, then the tensors without hole or overlap.
A file that departs from that in any way is refused before a byte of it is used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

LONGEST = 100_000_000  # bytes of header, the format's own limit

# numpy has no bfloat16 and no float8: their bits travel in a structured dtype, `array["bfloat16"]` is the uint16 view.
BFLOAT16 = np.dtype([("bfloat16", "<u2")])
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
    "F8_E4M3": np.dtype([("float8_e4m3", "u1")]),
    "F8_E5M2": np.dtype([("float8_e5m2", "u1")]),
    "C64": np.dtype("<c8"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
AVERAGED = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
NAMES = {name: code for code, name in AVERAGED.items()}


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: dtype code, shape, and its bytes [start, stop) counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


Layout = Mapping[str, Entry]


def some(keys: Sequence[str]) -> str:
    """The first few keys, and how many more there are: what an error tells."""
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


def arrange(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Entry]:
    """The layout of `{key: (dtype code, shape)}`: wide dtypes first, then by key, and nothing else: equal models are equal files."""
    layout, position = {}, 0
    for key in sorted(tensors, key=lambda key: (-DTYPES[tensors[key][0]].itemsize, key)):
        code, shape = tensors[key]
        stop = position + math.prod(shape) * DTYPES[code].itemsize
        layout[key] = Entry(code, shape, position, stop)
        position = stop
    return layout


def render(layout: Layout) -> bytes:
    """The header's bytes, length included, padded so that the tensors begin at a multiple of 8."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for key, entry in layout.items():
        table[key] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [entry.start, entry.stop]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def parse(text: bytes, room: int) -> dict[str, Entry]:
    """The layout in a header's JSON text, for a file with `room` bytes after the header. ValueError says what is wrong."""
    try:
        table = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant)
    except RecursionError:
        raise ValueError("its header nests too deep") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ValueError(f"its header is not valid JSON ({error})") from error
    if not isinstance(table, dict):
        raise ValueError("its header is not a JSON object")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its __metadata__ is not a table of strings")
    layout = {key: _entry(key, value) for key, value in table.items()}
    position, before = 0, "the header"
    for key, entry in sorted(layout.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != position:
            fault = "leaves a hole after" if entry.start > position else "overlaps"
            raise ValueError(f"{key} at byte {entry.start} {fault} {before}, which ends at {position}")
        position, before = entry.stop, key
    if position != room:
        fault = "is truncated" if position > room else "has trailing bytes"
        raise ValueError(f"it {fault}: expected {position} bytes of tensors, found {room}")
    return layout


def _entry(key: str, value: Any) -> Entry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{key} does not have exactly dtype, shape and data_offsets")
    code, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise ValueError(f"{key} has the unknown dtype {code!r}; known: {', '.join(DTYPES)}")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"{key} has a shape or offsets that are not counts")
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * DTYPES[code].itemsize:
        raise ValueError(f"{key} is {code} {shape}, which is not the {offsets} bytes that it claims")
    return Entry(code, tuple(shape), offsets[0], offsets[1])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)}")
    return table


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def encode(array: np.ndarray) -> tuple[str, np.ndarray]:
    """The dtype code of an array, and the array with contiguous little-endian elements (shape kept, also of scalars)."""
    array = np.asarray(array)
    little = array.dtype if array.dtype.fields else array.dtype.newbyteorder("<")
    if little not in CODES:
        raise ValueError(f"dtype {array.dtype} cannot be stored in safetensors; known: {', '.join(str(dtype) for dtype in CODES)}")
    return CODES[little], np.asarray(array, dtype=little, order="C")


def widen(raw: np.ndarray) -> np.ndarray:
    """float16, bfloat16, float32 and float64 values as an array that numpy multiplies exactly in float64."""
    if raw.dtype == BFLOAT16:
        wide: np.ndarray = (raw["bfloat16"].astype("<u4") << 16).view("<f4")
        return wide
    return raw


def narrow(values: np.ndarray, code: str) -> np.ndarray:
    """float64 values rounded once, to nearest even, to the dtype `code`."""
    with np.errstate(over="ignore", under="ignore"):
        if code != "BF16":
            return values.astype(DTYPES[code], copy=False)
        bits = values.view("<u8")
        # 52 - 7 = 45 bits go: rounding in float64 first avoids rounding twice on the way through float32
        kept = (bits + np.uint64((1 << 44) - 1) + ((bits >> np.uint64(45)) & np.uint64(1))) & ~np.uint64((1 << 45) - 1)
        short = kept.view("<f8").astype("<f4").view("<u4")
        short = (short + np.uint32(0x7FFF) + ((short >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        return short.astype("<u2").view(BFLOAT16)


def raw_bytes(array: np.ndarray) -> memoryview:
    """The bytes behind a contiguous array, writable where it is."""
    flat: Any = array.reshape(-1).view(np.uint8)
    return memoryview(flat)
