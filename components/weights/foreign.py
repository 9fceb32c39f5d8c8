"""Weights that other programs wrote: what a file really is, and which of its tensors is which of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from components.types import DataError
from components.weights import files
from components.weights.agreement import HEAD, MODEL
from components.weights.layout import Entry, Layout, some
from components.weights.parts import Memory, Part
from components.weights.sharded import Joined

PREFIXES = ("module.", "_orig_mod.", "model.", "image_encoder.", "clip_model.", "clip.")  # of wrappers, compilers and training scripts
HEADS = ("head", "classification_head", "classifier", "fc")
IDLE = ("input_resolution", "context_length", "vocab_size", "*attn_mask", "*position_ids")  # numbers and masks that the architecture makes itself
TORCH = (".pt", ".pth", ".bin", ".ckpt")
MARKS = {
    b"PK\x03\x04": "torch",
    b"\x80": "torch",
    b"version https://git-lfs": "a pointer of git-lfs: run git lfs pull",
    b"\x89PNG": "a PNG image: fetch it again",
    b"\xff\xd8\xff": "a JPEG image: fetch it again",
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"\x93NUMPY": "a numpy array: convert it",
    b"<": "HTML or XML, perhaps an error page that was saved under this name: fetch it again",
}


def format_of(url: str) -> str:
    """`safetensors` or `torch`, by content. DataError for anything else, and where the name says the other; ValueError where nothing is there."""
    total = files.size(url)
    if total is None:
        raise ValueError(f"no weights at {url}: give a file, a folder with open_clip_config.json or config.json, or the URL of one")
    head = bytearray(min(total, 64))
    files.read(url, 0, memoryview(head))
    if len(head) < 9:
        raise DataError(f"{url} is truncated: expected a header of 9 bytes or more, found {total} bytes; fetch it again")
    name = url.lower().partition("?")[0]
    said = "safetensors" if name.endswith(".safetensors") else "torch" if name.endswith(TORCH) else ""
    found = next((what for mark, what in MARKS.items() if head.lstrip(b" \r\n\t").startswith(mark)), "")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40:
        found = "safetensors"
    if found not in ("safetensors", "torch", ""):
        raise DataError(f"{url} holds no weights but {found}")
    if said and found and said != found:
        raise DataError(f"{url} is not the {said} file that its name says, but {found}; fetch it again, or rename it where it is to be trusted")
    if not (found or said == "safetensors"):  # what calls itself safetensors is told what is wrong with it
        raise DataError(f"{url} is neither safetensors nor a torch file; fetch it again")
    return found or said


@dataclass
class Names:
    """Which tensor of a file is which of ours: entries of the file under our keys, and what had to be done to find them."""

    model: dict[str, Entry] = field(default_factory=dict)
    head: dict[str, Entry] = field(default_factory=dict)
    stripped: tuple[str, ...] = ()  # prefixes, in the order in which they were taken off
    renamed: dict[str, str] = field(default_factory=dict)  # ours -> theirs, beyond prefixes
    dropped: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """What was done, as JSON, without what was not."""
        done = {"stripped": list(self.stripped), "renamed": self.renamed, "dropped": self.dropped}
        return {what: value for what, value in done.items() if value}


def named(layout: Layout, expected: Mapping[str, tuple[int, ...]], width: int, label: str) -> Names:
    """Match the tensors of a file with the model's, {key: shape}; width: columns of a classification head.

    Prefixes are stripped where more keys match without them. ValueError for a tensor without a place, for one of another shape, and where two
    become one. Keys of the model that the file lacks are listed, not refused.
    """
    trail, ours = _stripped(list(layout), expected)
    names = Names(stripped=trail)
    rest: dict[str, Entry] = {}
    for (old, entry), new in zip(layout.items(), ours, strict=True):
        place = _place(new, expected)
        if place is None:
            rest[new] = entry
        elif place in names.model:
            raise ValueError(f"{label} has {place} twice, once as {old}; import a file with one model")
        else:
            names.model[place] = _shaped(place, entry, expected[place], label)
            if place != new:
                names.renamed[place] = old
    names.missing = [key for key in expected if key not in names.model]
    heads = [name for name in HEADS if f"{name}.weight" in rest]
    if len(heads) == 1 and len(rest[f"{heads[0]}.weight"].shape) == 2:
        _head(heads[0], rest, names, width, label)
    names.dropped = [key for key in rest if any(fnmatchcase(key, pattern) for pattern in IDLE)]
    if unknown := [key for key in rest if key not in names.dropped]:
        raise ValueError(f"{label} has {some(unknown)}, for which the model has no place; {_remedy(unknown)}")
    return names


def _stripped(keys: list[str], expected: Mapping[str, Any]) -> tuple[tuple[str, ...], list[str]]:
    """The shortest sequence of prefixes after which the most keys are the model's, and the keys then."""
    best: tuple[tuple[str, ...], list[str]] = ((), keys)
    most = sum(_place(key, expected) is not None for key in keys)
    tried: list[tuple[tuple[str, ...], list[str]]] = [best]
    for trail, names in tried:
        for prefix in PREFIXES if len(trail) < 4 else ():
            shorter = [name.removeprefix(prefix) for name in names]
            if shorter == names or len(set(shorter)) < len(shorter):
                continue
            tried.append(((*trail, prefix), shorter))
            count = sum(_place(key, expected) is not None for key in shorter)
            if count > most:
                best, most = tried[-1], count
    return best


def _place(key: str, expected: Mapping[str, Any]) -> str | None:
    """Our key: the same, or below `text.`, where open_clip's custom text towers keep what plain ones have at the top."""
    return next((place for place in (key, f"text.{key}") if place in expected), None)


def _shaped(key: str, entry: Entry, shape: tuple[int, ...], label: str) -> Entry:
    if entry.shape != shape and {entry.shape, shape} != {(), (1,)}:
        raise ValueError(f"{label}: {key} has shape {list(entry.shape)}, the model's is {list(shape)}; name the right one by --model or --config")
    return replace(entry, shape=shape)  # a scale may be a scalar or [1]


def _head(name: str, rest: dict[str, Entry], names: Names, width: int, label: str) -> None:
    """Take the classifier out of `rest`."""
    weight, bias = rest.pop(f"{name}.weight"), rest.pop(f"{name}.bias", None)
    if weight.shape[1] != width or (bias is not None and bias.shape != weight.shape[:1]):
        told = f"{list(weight.shape)}" + (f" and {list(bias.shape)}" if bias else "")
        raise ValueError(f"{label}: {name} has shapes {told}, which is no classifier on {width} features; import it without")
    names.head = {"head.weight": weight} | ({"head.bias": bias} if bias else {})
    if name != "head":
        names.renamed["head.weight"] = f"{name}.weight"


def _remedy(keys: Iterable[str]) -> str:
    if any(key.startswith(("vision_model.", "text_model.")) for key in keys):
        return "these are names of Hugging Face transformers: convert the weights to open_clip's"
    return "name the right one by --model or --config"


def adopted(part: Part, names: Names, ancestor: Part | None, label: str) -> dict[str, Part]:
    """The files of tensors by role; keys that the file lacks come from the ancestor, which had them when it was tuned.

    ValueError where keys are missing and there is no ancestor, or where they are not the text tower's: an image tower was tuned.
    """
    pieces: list[tuple[Part, Layout | None]] = [(part, names.model)]
    if names.missing:
        tuned = [key for key in names.missing if key.startswith("visual.")]
        if tuned or ancestor is None or any(key not in ancestor.layout for key in names.missing):
            remedy = "fetch it again, or name the right --model" if tuned else "say --ancestor CHECKPOINT to take them from there"
            raise ValueError(f"{label} lacks {some(tuned or names.missing)}; {remedy}")
        pieces.append((ancestor, {key: ancestor.layout[key] for key in names.missing}))
    parts: dict[str, Part] = {MODEL: Joined(label, pieces)}
    if names.head:
        heads: list[tuple[Part, Layout | None]] = [(part, names.head)]
        if "head.bias" not in names.head:
            import numpy as np

            heads.append((Memory({"head.bias": np.zeros(names.head["head.weight"].shape[0], np.float32)}, label), None))
        parts[HEAD] = Joined(label, heads)
    return parts
