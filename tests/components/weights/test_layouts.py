"""Properties of the engine over headers, layouts, dtypes, shards, URLs, coefficients and slabs: none of them can show in a result."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize

from components.weights import Checkpoint, Policy, Vector, engine, layout
from components.weights.engine import Evaluator, opened
from components.weights.layout import DTYPES, NAMES, encode, narrow, widen

NAME = "open_clip_model.safetensors"
SHAPES = {"a.weight": (3, 5), "b": (), "c.bias": (7,), "none": (0, 4), "visual.d": (2, 2, 3), "z": (11,)}
WEIGHTS = st.sampled_from([0, 0, 1, 1, -1, 2, 0.1, -0.3, Fraction(1, 3), Fraction(-5, 7)])

Tensors = Mapping[str, np.ndarray]


def raw(tensors: Tensors, order: Sequence[str], header: Sequence[str]) -> bytes:
    """A safetensors file as the format has it: contents in `order`, their names in the order of `header`."""
    table, body = {}, b""
    for key in order:
        code, array = encode(tensors[key])
        table[key] = {"dtype": code, "shape": list(array.shape), "data_offsets": [len(body), len(body) + array.nbytes]}
        body += array.tobytes()
    text = json.dumps({key: table[key] for key in header}).encode()
    return struct.pack("<Q", len(text)) + text + body


def stored(folder: Path, tensors: Tensors, data: st.DataObject, ours: bool = False) -> Checkpoint:
    """The tensors in a drawn order or in ours, in one file or in shards, on a disk or behind a URL."""
    count, remote = data.draw(st.sampled_from([1, 1, 2, 3])), data.draw(st.booleans())
    folder.mkdir()
    where = {key: data.draw(st.integers(1, count)) for key in tensors}
    for shard in set(where.values()):
        known = [key for key in layout.arrange({key: (encode(array)[0], array.shape) for key, array in tensors.items()}) if where[key] == shard]
        keys = st.just(known) if ours else st.permutations(known)
        content = raw(tensors, data.draw(keys), data.draw(keys))
        assert {key: np.frombuffer(one["data"], DTYPES[one["dtype"]]).tobytes() for key, one in deserialize(content)} == {
            key: array.tobytes() for key, array in tensors.items() if where[key] == shard
        }, "the format's own library reads it too"
        (folder / (NAME if count == 1 else f"{shard}.safetensors")).write_bytes(content)
    if count > 1:
        (folder / f"{NAME}.index.json").write_text(json.dumps({"weight_map": {key: f"{n}.safetensors" for key, n in where.items()}}))
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}, "stockpot": {"ancestry": "root"}}))
    if not remote:
        return Checkpoint(str(folder))
    fsspec.filesystem("memory").put(str(folder), f"/layouts{folder}", recursive=True)
    return Checkpoint(f"memory://layouts{folder}")


def defined(models: Sequence[Tensors], weights: Sequence[Mapping[str, Fraction]], key: str, dtype: str | None) -> np.ndarray | None:
    """One tensor of the combination: integers over the common denominator, float64, rounded once; None where every coefficient is 0."""
    terms = [(model[key], weight[key]) for model, weight in zip(models, weights, strict=True) if weight[key]]
    if not terms:
        return None
    if terms[0][0].dtype.kind in "ib":
        return terms[0][0]
    codes = {encode(array)[0] for array, _ in terms}
    code = NAMES[dtype] if dtype else codes.pop() if len(codes) == 1 else "F32"
    below = int(np.lcm.reduce([weight.denominator for _, weight in terms]))
    total = sum(int(weight * below) * widen(array).astype(np.float64) for array, weight in terms) / below
    return narrow(np.asarray(total).reshape(-1), code).reshape(terms[0][0].shape)


def drawn(folder: Path, data: st.DataObject) -> tuple[Vector, dict[str, np.ndarray]]:
    """A combination of files that are as unlike as they may be, and what it is."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shapes = {key: SHAPES[key] for key in data.draw(st.lists(st.sampled_from(list(SHAPES)), min_size=1, unique=True))}
    count, ours, dtype = data.draw(st.integers(1, 4)), data.draw(st.booleans()), data.draw(st.sampled_from([None, None, *NAMES]))
    codes = data.draw(st.lists(st.sampled_from(sorted(NAMES.values())), min_size=1, max_size=2))
    models, weights, files, terms = [], [], [], []
    for i in range(count):
        named = {}
        for key, shape in shapes.items():
            named[key] = narrow(random.standard_normal(shape).reshape(-1) * 4, data.draw(st.sampled_from(codes))).reshape(shape)
        models.append({**named, "ids": np.arange(5), "mask": np.array([True, False, True])})
        keys = data.draw(st.booleans())
        weight = {key: data.draw(WEIGHTS) for key in models[i]} if keys else dict.fromkeys(models[i], data.draw(WEIGHTS))
        weights.append({key: Fraction(repr(number)) if isinstance(number, float) else Fraction(number) for key, number in weight.items()})
        files.append(stored(folder / str(i), models[i], data, ours))
        terms.append(files[i] * (weight if keys else weight["ids"]))
    ranked = sorted(range(count), key=lambda i: files[i].parts["model"].digest)
    expected = {key: defined([models[i] for i in ranked], [weights[i] for i in ranked], key, dtype) for key in models[0]}
    total = sum(data.draw(st.permutations(terms)), 0 * files[0])
    return total.under(Policy(dtype=dtype)), {key: array for key, array in expected.items() if array is not None}


@pytest.mark.filterwarnings("ignore:.*mixed dtypes")
@settings(max_examples=80)
@given(st.data())
def test_a_combination_is_its_definition_however_its_files_are_made(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("any")
    vector, expected = drawn(folder, data)
    assume(expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "SLAB", data.draw(st.integers(1, 40)))
        threads = data.draw(st.integers(1, 3))
        patch.setattr(engine, "cores", lambda: threads)
        vector.save(str(folder / "out"))
    found = dict(Checkpoint(str(folder / "out")).tensors())
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        assert (found[key].dtype, found[key].shape, found[key].tobytes()) == (array.dtype, array.shape, array.tobytes()), key


@pytest.mark.filterwarnings("ignore:.*mixed dtypes")
@settings(max_examples=40)
@given(st.data())
def test_any_range_of_a_result_can_be_computed_on_its_own(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Cut where two values meet, in any order: chunks of a file are made by whoever is free."""
    vector, expected = drawn(tmp_path_factory.mktemp("any"), data)
    assume(expected)
    plan = vector.assembly.plans["model"]
    whole = b"".join(expected[key].tobytes() for key in plan.layout)
    bounds = sorted({at for entry in plan.layout.values() for at in range(entry.start, entry.stop + 1, DTYPES[entry.dtype].itemsize)})
    cuts = sorted({0, plan.size, *data.draw(st.lists(st.sampled_from(bounds), max_size=4))})
    made = bytearray(plan.size)
    with opened(plan) as readers:
        evaluator = Evaluator(plan, readers)
        for start, stop in data.draw(st.permutations(list(pairwise(cuts)))):
            evaluator.fill(start, memoryview(made)[start:stop])
    assert bytes(made) == whole


def change(data: st.DataObject, table: dict[str, Any]) -> None:
    """One lie in a header."""
    entry = table[data.draw(st.sampled_from(sorted(table)))]
    kind, number = data.draw(st.sampled_from(["begin", "end", "move", "shape", "dtype", "more", "name"])), data.draw(st.integers(-9, 9))
    if kind in ("begin", "end"):
        entry["data_offsets"][kind == "end"] += number
    elif kind == "move":
        entry["data_offsets"] = [at + 4 * number for at in entry["data_offsets"]]
    elif kind == "shape":
        entry["shape"] = data.draw(st.lists(st.integers(-1, 6), max_size=3))
    elif kind == "dtype":
        entry["dtype"] = data.draw(st.sampled_from([*DTYPES, "F128", "", 4]))
    elif kind == "more":
        entry[data.draw(st.sampled_from(["stride", "dtype2"]))] = number
    else:
        table["again"] = dict(entry)


@settings(max_examples=300)
@given(st.data())
def test_what_we_accept_the_formats_own_library_accepts_and_reads_alike(data: st.DataObject) -> None:
    """After any two changes to a header, and bytes cut off or added."""
    tensors = {key: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for key, shape in SHAPES.items()} | {"ids": np.arange(3)}
    order = data.draw(st.permutations(list(tensors)))
    content = raw(tensors, order, order)
    length = struct.unpack("<Q", content[:8])[0]
    table, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    for _ in range(data.draw(st.integers(0, 2))):
        change(data, table)
    body = (body + bytes(8))[: len(body) + data.draw(st.sampled_from([0, 0, 0, -4, 4]))]
    text = json.dumps(table).encode()
    try:
        ours = layout.parse(text, len(body))
    except ValueError as error:
        assert "\n" not in str(error)
        return
    try:
        theirs = dict(deserialize(struct.pack("<Q", len(text)) + text + body))
    except SafetensorError as error:
        raise AssertionError(f"{text!r} is accepted here, and there: {error}") from None
    assert theirs.keys() == ours.keys()
    for key, entry in ours.items():
        assert (theirs[key]["dtype"], tuple(theirs[key]["shape"])) == (entry.dtype, entry.shape)
        assert bytes(theirs[key]["data"]) == body[entry.start : entry.stop]


@settings(max_examples=30)
@given(st.data())
def test_any_range_of_a_checkpoint_can_be_read_and_located(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """What a reader gives is what lies at the extents that the part names."""
    tensors = {key: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1 for key, shape in SHAPES.items()}
    part = stored(tmp_path_factory.mktemp("any") / "0", tensors, data).parts["model"]
    size = max(entry.stop for entry in part.layout.values())
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    buffer = bytearray(stop - start)
    with closing(part.reader()) as reader:
        reader.read(start, memoryview(buffer))
    pieces = []
    for url, first, last in part.extents(start, stop):
        with fsspec.open(url, "rb") as file:
            pieces.append(file.read()[first:last])
    assert b"".join(pieces) == bytes(buffer)
    for key, entry in part.layout.items():
        if start <= entry.start and entry.stop <= stop:
            assert bytes(buffer[entry.start - start : entry.stop - start]) == tensors[key].tobytes()
