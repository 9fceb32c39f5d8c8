"""`stockpot diff A B`: how far two models lie apart, layer by layer, what else differs, and whether the line between them is flat."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import components.data.microworld  # noqa: F401 (so that --data knows all that there is)
from components.types import Dataset
from components.weights import Checkpoint, Policy, mean
from pipelines.commands import text
from pipelines.commands.models import checkpoint, scratch, with_head
from pipelines.commands.studies import Where, option, parse
from pipelines.tasks import PHOTO

if TYPE_CHECKING:
    from components.analysis.difference import Apart, Difference

USAGE = "usage: stockpot diff A B [--base C] [--data Folder --data.url ./photos]\n\n" + (
    "A B C: checkpoint folders or URLs, keys of the store, or studies. C: a common ancestor, from which the moves of A and B are compared"
)
WIDTH, BAR = 80, 16


@dataclass(frozen=True)
class Options(Where):
    """What is compared."""

    base: str = option("", "a model from which both descend: compares the directions in which they moved")
    data: Dataset | None = option(None, "labelled examples: the accuracy of both and of their midpoint")
    classes: tuple[str, ...] = option((), "names for zero-shot heads on --data; models without a head take those of the data")
    prompts: tuple[str, ...] = option(PHOTO, "sentences with {} for such heads")
    largest: bool = option(False, "what moved furthest first, not from the input to the output")
    tensors: bool = option(False, "a row for every tensor, not for every layer")
    json: bool = option(False, "all of it as JSON")


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    if len(words) != 2:
        raise ValueError(f"diff takes two models, got {len(words)}; {USAGE.splitlines()[0]}")
    from components.analysis.difference import difference

    a, b = (checkpoint(word, options) for word in words)
    base = checkpoint(options.base, options) if options.base else None
    for model in filter(None, (a, b, base)):
        model.verify()
    found = difference(a, b, base)
    line = along(a, b, options) if options.data is not None else {}
    if options.json:
        print(json.dumps({"a": words[0], "b": words[1], "base": options.base, **dataclasses.asdict(found), "line": line}, indent=1))
        return 0
    print(*told(found, words, options), sep="\n")
    if line:
        print("", *accuracies(line), sep="\n")
    return 0


def told(found: Difference, words: Sequence[str], options: Options) -> list[str]:
    """The report as lines."""
    whole = found.whole
    lines = [f"A  {words[0]}", f"B  {words[1]}", *([f"C  {options.base}"] if options.base else []), ""]
    if not whole.tensors:
        lines.append("no weights in common")
    else:
        rows = [["norm", f"{number(whole.norms[0])} (A), {number(whole.norms[1])} (B), over {text.counted(whole.tensors, 'tensor')}"]]
        rows.append(["distance", f"{number(whole.distance)}, {percent(whole)} of the norm of A"])
        rows.append(["cosine", "-" if whole.cosine is None else f"{whole.cosine:.6f}"])
        if whole.moved is not None:
            rows.append(["moved", f"{number(whole.moved[0])} (A), {number(whole.moved[1])} (B) from C, cosine {angle(whole.along)}"])
        elif found.ancestor:
            rows.append(["ancestry", f"{found.ancestor.upper()} is the ancestor of {'B' if found.ancestor == 'a' else 'A'}"])
        lines += text.columns(rows)
    rest = others(found)
    lines += ["", *rest] if rest else ["", "specifications, keys, dtypes and buffers are equal"]
    parts = found.tensors if options.tensors else found.layers
    if whole.distance:
        lines += ["", *table(parts, options)]
    return lines


def number(value: float) -> str:
    """Four digits: 0.1200, 12.35, 1234."""
    return f"{value:#.4g}".rstrip(".") if value else "0"


def percent(apart: Apart) -> str:
    """The distance as a part of the norm of A; where that is 0 there is none."""
    return "-" if apart.relative == float("inf") else f"{number(100 * apart.relative)} %"


def angle(cosine: float | None) -> str:
    """A cosine; a vector without length has none."""
    return "-" if cosine is None else f"{cosine:.4f}"


def table(parts: Sequence[Apart], options: Options) -> list[str]:
    """One line for each part: distance, relative distance, cosine (of the moves, where there is a base) and a bar of the relative distance."""
    shown = sorted(parts, key=lambda part: -part.relative) if options.largest else parts
    longest = max((part.relative for part in parts if part.relative != float("inf")), default=0.0)
    rows = [["tensor" if options.tensors else "layer", "distance", "of norm", "cosine of moves" if options.base else "cosine"]]
    for part in shown:
        rows.append([part.name, number(part.distance), percent(part), angle(part.along if options.base else part.cosine)])
    lines = text.columns(rows, right=(1, 2, 3))
    room = min(BAR, WIDTH - 2 - max(map(len, lines)))
    bars = [bar(part.relative / longest if longest else 0.0, room) for part in shown]
    return lines[:1] + [f"{line}  {drawn}".rstrip() for line, drawn in zip(lines[1:], bars, strict=True)]


def bar(share: float, room: int) -> str:
    """A bar of at most `room` characters, in halves where the terminal has them."""
    halves = round(2 * max(0, room) * min(1.0, share))
    blocks = (sys.stdout.encoding or "").lower().startswith("utf")
    return ("█" if blocks else "#") * (halves // 2) + ("▌" if blocks and halves % 2 else "")


def others(found: Difference) -> list[str]:
    """What is no distance: tensors that do not correspond, buffers, and specifications."""
    lines = []
    for keys, where in zip(found.missing, ("only in B", "only in A"), strict=True):
        if keys:
            lines.append(f"{where}: {text.counted(len(keys), 'tensor')}, {some(keys)}")
    pairs: list[tuple[str, Mapping[str, Any]]] = [("shapes", found.shapes), ("dtypes", found.dtypes)]
    for what, unlike in pairs:
        listed = [f"{key} {_plain(here)} and {_plain(there)}" for key, (here, there) in unlike.items()]
        if listed:
            lines.append(f"{what} differ in {text.counted(len(listed), 'tensor')}: {some(listed)}")
    if found.buffers:
        lines.append(f"buffers differ: {some(found.buffers)}")
    if found.not_finite:
        lines.append(f"not finite, left out of all numbers: {some(found.not_finite)}")
    rows = [[f"{path}:", f"{here} (A), {there} (B)"] for path, (here, there) in found.specification.items()]
    return lines + (text.columns(rows) if rows else [])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else str(list(value)).replace(" ", "")


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few, and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def along(a: Checkpoint, b: Checkpoint, options: Options) -> dict[str, Any]:
    """Accuracy of the ends and of their midpoint, and the barrier: the mean of the ends less the midpoint (Frankle et al. 2020, arXiv:1912.05671)."""
    from components.analysis.intervals import mean_difference
    from components.evaluate import outputs
    from components.metrics import Top1

    assert options.data is not None
    ends = [with_head(model, options.classes, options.prompts, options.data) for model in (a, b)]
    middle = mean(ends, Policy(bn="average", unlike_ancestry=True, unlike_preprocess=True))
    refused = ""
    with scratch() as run:
        answers = [outputs(model, options.data, run=run) for model in ends]
        try:
            answers.append(outputs(middle, options.data, run=run))
        except ValueError as error:  # they cannot be averaged, which is part of the report
            refused = str(error)
    scores = [dataclasses.asdict(Top1()(each, "data")) for each in answers]
    line = {"scores": dict(zip(("A", "B", "midpoint"), scores, strict=False)), "refused": refused}
    if not refused:
        known = answers[0].labels >= 0
        first, second, mid = (each.correct[known].astype(float) for each in answers)
        line["barrier"] = mean_difference([(answers[0].ids[known], (first + second) / 2 - mid)])._asdict()
    return line


def accuracies(line: Mapping[str, Any]) -> list[str]:
    """The line between the models as a table."""
    rows = [["model", "top-1 %", "95 % interval", "correct", "of"]]
    for name, score in line["scores"].items():
        ends = f"{100 * score['low']:.1f}-{100 * score['high']:.1f}"
        rows.append([name, f"{100 * score['value']:.1f}", ends, str(score["correct"]), str(score["n"])])
    lines = text.columns(rows, right=(1, 2, 3, 4))
    if line["refused"]:
        return [*lines, f"no midpoint: {line['refused']}"]
    scores, barrier = line["scores"], line["barrier"]
    ends = (scores["A"]["value"] + scores["B"]["value"]) / 2
    return [
        *lines,
        f"barrier {100 * barrier['value']:.1f} points: the mean of the ends {100 * ends:.1f} % less the midpoint,",
        f"95 % interval {100 * barrier['low']:.1f} to {100 * barrier['high']:.1f}, paired over {scores['A']['n']} examples",
    ]
