"""`stockpot doctor TASK --url ...`: do images lie as a task expects them? One line for each part of it; no image is decoded, but for `--model`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.data.folder import Folder
from components.data.listed import Listed, Listing, in_folders
from components.metrics import Top1
from components.types import Dataset, Local, Metric
from pipelines.commands.checks import summed, told
from pipelines.commands.fields import Tree, defaults, family, made, path_of
from pipelines.commands.help import about
from pipelines.commands.models import scratch
from pipelines.commands.studies import divided, laid, option
from pipelines.commands.text import counted
from pipelines.tasks import Domains, Task

USAGE = "stockpot doctor TASK [--url FOLDER ...] [--model NAME --pretrained TAG --sample N]: is a task's data laid out as published?"
# Images of test sets, from the counts in model-soups' published result files, and in DomainBed's list of VLCS's files (misc/vlcs_files.txt).
PUBLISHED = {
    ("ImageNet", "ImageNet"): 50_000, ("ImageNet", "V2"): 10_000, ("ImageNet", "Sketch"): 50_889, ("ImageNet", "R"): 30_000,
    ("ImageNet", "A"): 7_500, ("ImageNet", "ObjectNet"): 18_574,
    ("VLCS", "Caltech101"): 1_415, ("VLCS", "LabelMe"): 2_656, ("VLCS", "SUN09"): 3_282, ("VLCS", "VOC2007"): 3_376,
}  # fmt: skip
ANCHORS = {"ViT-B-32": 0.634, "ViT-B-16": 0.683, "ViT-L-14": 0.755}  # as arXiv:2212.04089 reports them


@dataclass(frozen=True)
class Options:
    """What is measured beside."""

    model: str = option("", "measure zero-shot accuracy with this model: ViT-B-32, a folder, stockpot-tiny")
    pretrained: str = option("", "its weights, where it is an architecture: openai, a file or a URL")
    sample: int = option(512, "images of each test set that are measured")


def tasks() -> dict[str, type]:
    """The tasks by name."""
    return {**family(Task), **family(Domains)}


def examine(task: Any, options: Options) -> int:
    """Look at the data of a task."""
    reported = {task.name: task.test, **task.shifts} if isinstance(task, Task) else dict(task.domains)
    parts = {"train": task.train, "held out": task.held_out, **reported} if isinstance(task, Task) else reported
    known: set[str] = set()
    codes, seen = [], set()
    with scratch() as run:
        for name, data in parts.items():
            for root in (root for root, _, _ in data.parts() if repr(root) not in seen):
                seen.add(repr(root))
                codes.append(told(name, functools.partial(layout, task, name, root, run), known))
        codes.append(told("class names", functools.partial(names, task, next(iter(reported.values())), run), known))
        if task.name == "ImageNet":
            told("expected, zero-shot", expected, known)
        if options.model and not any(codes):
            codes += measured(task, reported, options, run)
    return summed(codes)


def chosen(argv: Sequence[str]) -> tuple[Any, Options]:
    """The task with its fields, which may be written --task.url as a study has them, and what is measured."""
    cls = tasks()[argv[0]]
    words, flags = divided(argv[1:], {})
    if words:
        raise ValueError(f"{words[0]!r} is one word too many; the fields of a task are flags like --url FOLDER")
    tree: Tree = {"class_path": path_of(cls), "init_args": defaults(cls)}
    tree, own = laid(tree, {name.removeprefix("task."): value for name, value in flags.items()}, Options)
    if "help" in flags:
        print(about(f"stockpot doctor {argv[0]}", cls, tree, Options))
        raise SystemExit(0)
    return made(cls, tree), made(Options, own)


def listing(data: Dataset, run: Local) -> Listing | None:
    """What there is without reading an image; None where only opening tells."""
    from components.data.names import shown
    from components.data.source import Source

    if isinstance(data, Listed):
        return data.listing(run)
    if not isinstance(data, Folder):
        return None
    source = Source.open(data.url, data.pinned, run)
    classes, found = source.folders(), in_folders(source)
    if len(classes) < 2:
        raise ValueError(f"Folder {shown(data.url)}: {len(classes)} class folders; at least 2 are needed, each with the images of one class")
    number = {name: k for k, name in enumerate(classes)}
    files, labels = tuple(file for _, file in found), tuple(number[folder] for folder, _ in found)
    return Listing(source, f"Folder {shown(data.url)}", files, labels, tuple(classes)).full()


def layout(task: Any, name: str, data: Dataset, run: Local) -> str:
    """What lies there. ValueError where it is not laid out so, or where other images are there than were published."""
    found = listing(data, run)
    if found is None:
        examples = data.open(run)
        return f"{len(examples):,} images of {len(examples.classes):,} classes"
    counts = found.counts()
    most, least = max(counts.values()), min(counts.values())
    wanted = PUBLISHED.get((type(task).__name__, name), len(found.files))
    if len(found.files) != wanted:
        raise ValueError(f"{found.where}: {len(found.files):,} images, {wanted:,} were published; complete the download, or remove what is not of it")
    rest = f" of a head of {found.width:,}" if found.columns else ""
    return f"{len(found.files):,} images of {len(counts):,} classes{rest}, {f'{least:,} to {most:,}' if least < most else f'{most:,}'} of each"


def names(task: Any, data: Dataset, run: Local) -> str:
    """Whether the names for the zero-shot head fit the classes of the data."""
    found = listing(next(root for root, _, _ in data.parts()), run)
    own = found.classes if found else data.open(run).classes
    given = task.classes or own
    if len(given) != (found.width if found and found.columns else len(own)):
        raise ValueError(f"the task names {len(given)} classes, the data has {len(own)}; give --classes in the order of the sorted folders, or none")
    twice = sorted({name for name in given if given.count(name) > 1})
    doubled = f"; {len(twice)} names stand twice ({', '.join(twice[:3])}), so positions count" if twice else ""
    whose = "the task" if task.classes else "the folders"
    return f"{len(given):,} of {whose}: {', '.join(given[:3])} ...; {counted(len(task.prompts), 'prompt')}{doubled}"


def expected() -> str:
    """What was published."""
    listed = ", ".join(f"{name} {100 * value:.1f} %" for name, value in ANCHORS.items())
    return f"{listed} on ImageNet with OpenAI's weights and 80 prompts, as arXiv:2212.04089 reports"


def measured(task: Any, reported: dict[str, Dataset], options: Options, run: Local) -> list[int]:
    """The zero-shot accuracy on a sample of each test set. A failure where it is far below what was published: labels or names do not fit."""
    from components.models.heads import accelerator, zero_shot
    from components.models.module import build
    from components.models.openclip import OpenClip, pretrained

    classes = task.classes or opened(next(iter(reported.values())), 1, run).classes
    base = pretrained(OpenClip(options.model, options.pretrained), run=run)
    module = build(zero_shot(base, tuple(classes), task.prompts, run=run), accelerator())
    anchor = ANCHORS.get(options.model, 0.0) if options.pretrained == "openai" else 0.0
    metric: Metric = task.metric if isinstance(task, Task) else Top1()

    def one(name: str, data: Dataset) -> str:
        from components.evaluate import answers
        from components.predictors.head import Head

        found = answers(module, Head(), opened(data, options.sample, run), run)
        score, ties = Top1()(found), int(((found.logits == found.logits.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum())
        text = f"{100 * score.value:.1f} % ({100 * score.low:.1f}-{100 * score.high:.1f}) of {score.n} images"
        if name == "ImageNet" and score.high < anchor / 2:
            raise ValueError(f"{text}, where {100 * anchor:.1f} % was published: labels do not fit the class names, or images the model")
        further = "" if metric == Top1() else f", {metric(found).metric} {100 * metric(found).value:.1f} %"
        return f"{text}{further}{f'; {ties} ties, which the first class wins' if ties else ''}"

    return [told(f"zero-shot {name}"[:23], functools.partial(one, name, data), set()) for name, data in reported.items()]


def opened(data: Dataset, n: int, run: Local) -> Any:
    """At most n examples, no others decoded where a listing tells which they are."""
    from components.data import Sample

    found = listing(data, run)
    if found is None:
        return Sample(data, n).open(run)
    return found.some(n).opened(data, run, 0.5)
