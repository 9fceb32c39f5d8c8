"""Byte-pair tokenisers that travel with a model: open_clip's format, only the merges that a model was trained on.

`bpe.txt.gz` is what `open_clip.SimpleTokenizer(bpe_path=...)` reads: a header line, then one merge a line. Its ids are the 256 bytes, the
256 bytes that end a word, the merges, start and end of text; the last is the largest id, which open_clip's argmax pooling relies on.
"""

from __future__ import annotations

import gzip
import importlib.util
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Merge = tuple[str, str]
HEADER = "#version: stockpot, a subset of bpe_simple_vocab_16e6"
END = "</w>"


def tokenizer(source: str | bytes, context: int) -> Callable[[list[str]], torch.Tensor]:
    """A callable list of str -> int64 [N, context] from a model folder's `bpe.txt.gz`, or from its bytes.

    Any text tokenises, by bytes where no merge applies; a text that is too long keeps its beginning and its end of text.
    """
    packed = source if isinstance(source, bytes) else (Path(source) / "bpe.txt.gz").read_bytes()
    ranks = {merge: rank for rank, merge in enumerate(_merges(packed))}
    symbols = list(_symbols())
    ids = {symbol: i for i, symbol in enumerate([*symbols, *(s + END for s in symbols), *map("".join, ranks)])}
    start, end = len(symbols) * 2 + len(ranks), len(symbols) * 2 + len(ranks) + 1

    @lru_cache(maxsize=65536)
    def encode(text: str) -> tuple[int, ...]:
        pieces = [ids[piece] for word in _words(text) for piece in _apply(word, ranks)[0]]
        return (start, *pieces[: context - 2], end)

    def encode_all(texts: list[str]) -> torch.Tensor:
        import torch

        out = torch.zeros(len(texts), context, dtype=torch.long)
        for row, text in zip(out, texts, strict=True):
            tokens = encode(text)
            row[: len(tokens)] = torch.tensor(tokens)
        return out

    return encode_all


def vocabulary(texts: Iterable[str]) -> bytes:
    """The `bpe.txt.gz` with exactly the merges of open_clip's vocabulary that these texts use; they tokenise as they do under all of it."""
    found = importlib.util.find_spec("open_clip")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("a vocabulary is a subset of open_clip's: pip install open_clip_torch")
    everything = _merges((Path(found.origin).parent / "bpe_simple_vocab_16e6.txt.gz").read_bytes())[: 49152 - 256 - 2]
    ranks = {merge: rank for rank, merge in enumerate(everything)}
    used = {merge for word in {w for text in texts for w in _words(text)} for merge in _apply(word, ranks)[1]}
    lines = "\n".join([HEADER, *(" ".join(merge) for merge in sorted(used, key=ranks.__getitem__))])
    return gzip.compress(lines.encode(), mtime=0)  # no last newline: open_clip would read an empty merge


def size(packed: bytes) -> int:
    """The `vocab_size` of a text tower for this `bpe.txt.gz`."""
    return 2 * 256 + len(_merges(packed)) + 2


def _merges(packed: bytes) -> list[Merge]:
    lines = gzip.decompress(packed).decode().split("\n")[1:]
    return [(left, right) for left, right in (line.split() for line in lines if line)]


def _symbols() -> list[str]:
    """A character for each byte, in the vocabulary's order: printable Latin-1 stands for itself, the rest follows from U+0100."""
    printable = [b for low, high in (("!", "~"), ("¡", "¬"), ("®", "ÿ")) for b in range(ord(low), ord(high) + 1)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


@lru_cache(maxsize=1)
def _bytes() -> dict[int, str]:
    symbols = _symbols()
    printable = [ord(s) for s in symbols if ord(s) < 256]
    return dict(zip([*printable, *(b for b in range(256) if b not in set(printable))], symbols, strict=True))


def _words(text: str) -> list[str]:
    """Words as symbols of bytes, cleaned as open_clip does: repaired, unescaped, one space, lower case."""
    import html

    import ftfy
    import regex

    text = " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
    words = regex.findall(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", text)
    return ["".join(_bytes()[b] for b in word.encode()) for word in words]


def _apply(word: str, ranks: dict[Merge, int]) -> tuple[list[str], list[Merge]]:
    """The pieces of a word and the merges that made them: always the earliest learned pair first, wherever it occurs."""
    pieces, used = [*word[:-1], word[-1] + END], []
    while len(pieces) > 1:
        best = min(pairwise(pieces), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        used.append(best)
        merged: list[str] = []
        for piece in pieces:
            if merged and (merged[-1], piece) == best:
                merged[-1] += piece
            else:
                merged.append(piece)
        pieces = merged
    return pieces, used
