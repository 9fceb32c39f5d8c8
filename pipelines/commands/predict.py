"""`stockpot predict MODEL FOLDER`: a label and probabilities for every image, as CSV."""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from infra.errors import OK, PARTIAL
from pipelines.commands.models import answers, checkpoint, with_head
from pipelines.commands.studies import Where, option, parse
from pipelines.tasks import PHOTO

USAGE = "usage: stockpot predict MODEL FOLDER [--out FILE.csv] [--classes a,b,c --prompts 'a photo of a {}.']\n\n" + (
    "MODEL: a checkpoint folder or URL, a key of the store, or a study's name (its winner; soup:smoke is that of a preset)\n"
    "FOLDER: images at any depth, or one image, by path or URL"
)


@dataclass(frozen=True)
class Options(Where):
    """What is asked."""

    out: str = option("", "file for the CSV (default: the terminal)")
    classes: tuple[str, ...] = option((), "names for a zero-shot head, made from the model's text tower")
    prompts: tuple[str, ...] = option(PHOTO, "sentences with {} for such a head")
    bad: float = option(1.0, "share of unreadable images beyond which nothing is predicted")


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    if len(words) != 2:
        raise ValueError(f"predict takes a MODEL and a FOLDER, got {len(words)} words; {USAGE.splitlines()[0]}")
    from components.data import Images

    model = with_head(checkpoint(words[0], options), options.classes, options.prompts)
    found, examples = answers(model, Images(words[1], bad=options.bad))
    with target(options.out) as file:
        write(found, file)
    for line in examples.skipped:
        print(f"not read: {line}", file=sys.stderr)
    if examples.skipped:
        print(f"{len(examples.skipped)} of {len(found) + len(examples.skipped)} images could not be read", file=sys.stderr)
    return PARTIAL if examples.skipped else OK


def write(predictions: Any, file: TextIO) -> None:
    """file, label, probability of the label, then the probability of each class."""
    import numpy as np

    logits = predictions.logits.astype(np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    names = list(predictions.classes) or [str(k) for k in range(logits.shape[1])]
    rows = csv.writer(file)
    rows.writerow(["file", "label", "probability", *names])
    for name, row in zip(predictions.ids, shares, strict=True):
        best = int(row.argmax())
        rows.writerow([str(name), names[best], *(f"{share:.6f}" for share in (row[best], *row))])


@contextlib.contextmanager
def target(path: str) -> Iterator[TextIO]:
    if not path:
        yield sys.stdout
        return
    with open(path, "w", newline="") as file:
        yield file
