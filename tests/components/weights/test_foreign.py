"""What other programs call our tensors, and what a file is whatever it is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.types import DataError
from components.weights.foreign import PREFIXES, Names, adopted, format_of, named
from components.weights.layout import Layout, arrange
from components.weights.parts import Memory

MODEL = {"visual.proj": (6, 4), "transformer.w": (3, 4), "logit_scale": ()}


def layout(shapes: dict[str, tuple[int, ...]]) -> Layout:
    return arrange({key: ("F32", shape) for key, shape in shapes.items()})


def match(shapes: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]] = MODEL) -> Names:
    return named(layout(shapes), expected, 4, "x.pt")


@given(st.lists(st.sampled_from(PREFIXES), max_size=3).map(tuple))
def test_any_wrapping_is_stripped_and_told(prefixes: tuple[str, ...]) -> None:
    names = match({"".join(prefixes) + key: shape for key, shape in MODEL.items()})
    assert (sorted(names.model), names.missing) == (sorted(MODEL), [])
    assert names.stripped == prefixes
    assert names.told() == ({"stripped": list(prefixes)} if prefixes else {})


def test_a_prefix_of_the_model_s_own_stays() -> None:
    names = match({"model.w": (2,), "module.b": (2,)}, {"model.w": (2,), "module.b": (2,)})
    assert names.stripped == () and set(names.model) == {"model.w", "module.b"}


def test_text_towers_of_their_own_and_scales_with_an_axis_find_their_place() -> None:
    names = match({"token_embedding.weight": (9, 4), "logit_scale": ()}, {"text.token_embedding.weight": (9, 4), "logit_scale": (1,)})
    assert names.renamed == {"text.token_embedding.weight": "token_embedding.weight"} and names.model["logit_scale"].shape == (1,)


@pytest.mark.parametrize("head", ["head", "classification_head", "classifier", "fc"])
def test_a_classification_head_is_found_beside_a_wrapped_model(head: str) -> None:
    names = match({**{f"model.{key}": shape for key, shape in MODEL.items()}, f"{head}.weight": (10, 4), f"{head}.bias": (10,)})
    assert {key: entry.shape for key, entry in names.head.items()} == {"head.weight": (10, 4), "head.bias": (10,)}


def test_what_a_model_makes_itself_is_dropped_and_told() -> None:
    assert match({**MODEL, "input_resolution": (), "transformer.attn_mask": (3, 3)}).dropped == ["input_resolution", "transformer.attn_mask"]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({**MODEL, "strange": (1,)}, "has strange, for which the model has no place"),
        ({**MODEL, "visual.proj": (7, 4)}, r"visual.proj has shape \[7, 4\], the model's is \[6, 4\]"),
        ({**MODEL, "transformer.w": (4, 3)}, r"transformer.w has shape \[4, 3\]"),
        ({**MODEL, "logit_scale": (2,)}, "logit_scale has shape"),
        ({**MODEL, "head.weight": (10, 5)}, r"head has shapes \[10, 5\], which is no classifier on 4 features"),
        ({**MODEL, "head.weight": (10, 4), "fc.weight": (10, 4)}, "head.weight"),
        ({**MODEL, "vision_model.embeddings.class_embedding": (4,)}, "names of Hugging Face transformers"),
        ({**MODEL, "module.visual.proj": (6, 4)}, "has module.visual.proj, for which"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(shapes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        match(shapes)
    assert "\n" not in str(caught.value)


def test_one_value_does_not_stand_for_a_row_of_them() -> None:
    for shape in ((), (1,)):
        with pytest.raises(ValueError, match=r"b has shape .* the model's is \[5\]"):
            match({"b": shape}, {"b": (5,)})


def test_the_ancestor_gives_the_text_tower_and_never_the_image_tower() -> None:
    random = np.random.default_rng(0)
    base = Memory({key: random.normal(size=shape).astype(np.float32) for key, shape in MODEL.items()}, "base")
    tuned = {"visual.proj": np.ones((6, 4), np.float32), "head.weight": np.ones((2, 4), np.float32)}
    part = Memory(tuned, "x.pt")
    names = named(part.layout, MODEL, 4, "x.pt")
    parts = adopted(part, names, base, "x.pt")
    entry = parts["model"].layout["transformer.w"]
    found = np.empty((3, 4), np.float32)
    parts["model"].reader().read(entry.start, memoryview(found.reshape(-1).view(np.uint8)))
    assert np.array_equal(found, base._tensors["transformer.w"]) and set(parts["model"].layout) == set(MODEL)
    assert parts["head"].layout["head.bias"].shape == (2,)
    with pytest.raises(ValueError, match=r"lacks transformer\.w, logit_scale; say --ancestor"):
        adopted(part, names, None, "x.pt")
    half = Memory({"transformer.w": np.ones((3, 4), np.float32)}, "y.pt")
    with pytest.raises(ValueError, match=r"y\.pt lacks visual\.proj; fetch it again"):
        adopted(half, named(half.layout, MODEL, 4, "y.pt"), base, "y.pt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.safetensors", b"\x89PNG\r\n\x1a\n" + bytes(99), "holds no weights but a PNG image"),
        ("x.pt", b"\n<!DOCTYPE html><html>", "holds no weights but HTML"),
        ("x.bin", b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of git-lfs: run git lfs pull"),
        ("x.pt", b"", "expected a header of 9 bytes or more, found 0"),
        ("x.pt", b"weights, I promise", "neither safetensors nor a torch file"),
        ("x.safetensors", b"PK\x03\x04" + bytes(99), "is not the safetensors file that its name says, but torch"),
        ("x.ckpt", b"\x08\0\0\0\0\0\0\0{}      ", "is not the torch file that its name says, but safetensors"),
    ],
)
def test_a_file_is_what_its_bytes_say(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        format_of(str(tmp_path / name))
