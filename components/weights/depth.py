"""Where in its network a tensor lies, read from its name as open_clip, timm and torchvision give it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

# The first of these with a number: blocks of transformers, and stages of what has stages (`stages.2.blocks.5` lies in stage 2).
BLOCK = re.compile(r"(?:^|\.)(?:resblocks|blocks|stages|layers|layer)\.?(\d+)(?=\.)")
EMBEDDING = re.compile(r"(?:trunk\.|transformer\.)?(?:conv\d|bn\d|ln_pre|norm_pre|\w*stem|\w*emb\w*|\w*token)(?:\.|$)")
TOWERS = ("visual", "", "text", "text_decoder", "head", "objective")  # "": a tower without a prefix of its own
FIRST, LAST = -1, 1 << 20


@dataclass(frozen=True, order=True)
class Layer:
    """A block of a tower, or what lies before its first (number FIRST) or after its last (LAST). Ordered from the input to the output."""

    tower: int  # index in TOWERS
    number: int
    name: str


def layer(key: str) -> Layer:
    """The layer of a tensor: `visual.transformer.resblocks.3`, `visual embeddings`, `output`, `head` ..."""
    prefix, _, rest = key.partition(".")
    tower = TOWERS.index(prefix) if prefix in TOWERS else TOWERS.index("")
    if prefix in ("head", "objective"):
        return Layer(tower, LAST, prefix)
    if block := BLOCK.search(key):
        return Layer(tower, int(block[1]), key[: block.end()])
    if EMBEDDING.match(rest if TOWERS[tower] else key):
        return Layer(tower, FIRST, f"{TOWERS[tower]} embeddings".lstrip())
    return Layer(tower, LAST, f"{TOWERS[tower]} output".lstrip())


def depths(keys: Iterable[str]) -> dict[str, Fraction]:
    """How deep each tensor lies in its own tower: (l - 1) / (L - 1) for block l of L, 0 for embeddings (and an only block), 1 after the last."""
    layers = {key: layer(key) for key in keys}
    blocks: dict[int, list[int]] = {}
    for one in sorted(set(layers.values())):
        if FIRST < one.number < LAST:
            blocks.setdefault(one.tower, []).append(one.number)
    found = {}
    for key, one in layers.items():
        among = blocks.get(one.tower, [])
        inside = Fraction(among.index(one.number), max(1, len(among) - 1)) if one.number in among else Fraction(one.number == LAST)
        found[key] = inside
    return found
