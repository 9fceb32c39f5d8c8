"""`stockpot eval MODEL --data ...`: the scores of a model on labelled images, each with its count and interval."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import components.data.microworld  # noqa: F401 (so that --data knows all that there is)
from components.metrics import CalibrationError, MeanPerClass, Top1, TopK
from components.types import Dataset, Metric
from pipelines.commands.models import answers, checkpoint, with_head
from pipelines.commands.studies import Where, option, parse
from pipelines.commands.text import columns
from pipelines.tasks import PHOTO

USAGE = "usage: stockpot eval MODEL --data Folder --data.url ./photos   (or --data \"Split(Folder('./photos'), 0.8, 1)\")\n\n" + (
    "MODEL: a checkpoint folder or URL, a key of the store, or a study's name (its winner; soup:smoke is that of a preset)"
)


@dataclass(frozen=True)
class Options(Where):
    """What is asked."""

    data: Dataset | None = option(None, "labelled examples: Folder, Parquet, Npz, WebDataset, Idx, Digits, Split ...")
    classes: tuple[str, ...] = option((), "names for a zero-shot head; a model without a head takes those of the data")
    prompts: tuple[str, ...] = option(PHOTO, "sentences with {} for such a head")
    json: bool = option(False, "the scores as JSON")


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    if len(words) != 1 or options.data is None:
        raise ValueError(f"eval takes one MODEL and --data; {USAGE.splitlines()[0]}")
    model = with_head(checkpoint(words[0], options), options.classes, options.prompts, options.data)
    found, examples = answers(model, options.data)
    metrics: list[Metric] = [Top1(), *([TopK(5)] if found.logits.shape[1] > 5 else []), MeanPerClass(), CalibrationError()]
    scores = [metric(found, "data") for metric in metrics]
    for line in examples.skipped:
        print(f"not read: {line}", file=sys.stderr)
    if unknown := [name for name in examples.classes if name not in found.classes and not name.isdigit()]:
        listed = f"{', '.join(unknown[:3])}{' ...' if len(unknown) > 3 else ''}"
        print(f"note: the model has no class {listed}: classes were compared by their places, {', '.join(found.classes[:3])} ...", file=sys.stderr)
    if options.json:
        print(json.dumps({"model": words[0], "scores": [dataclasses.asdict(score) for score in scores], "skipped": examples.skipped}, indent=1))
        return 0
    rows = [["metric", "%", "95 % interval", "correct", "of"]]
    for score in scores:
        counted = str(score.correct) if score.correct is not None else ""
        rows.append([score.metric, f"{100 * score.value:.1f}", f"{100 * score.low:.1f}-{100 * score.high:.1f}", counted, str(score.n)])
    print(*columns(rows, right=(1, 2, 3, 4)), sep="\n")
    return 0
