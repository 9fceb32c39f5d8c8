"""`stockpot import SOURCE --out URL` or `--store URL`: weights that other programs wrote become a checkpoint; no code in them is ever run."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import components.data.microworld  # noqa: F401 (so that --data knows all that there is)
from components.types import DataError, Dataset, Local
from components.weights import Checkpoint, Policy
from components.weights.agreement import MODEL, Ingredient
from components.weights.assembly import Assembly, assemble
from components.weights.coefficients import ONE
from components.weights.files import content, document, join, pieces, size
from components.weights.folder import CONFIGS, EXTRAS, PICKLES, read, side_files, write
from components.weights.foreign import Names, adopted, format_of, named
from components.weights.parts import Part, Stored
from components.weights.sharded import INDEX, Joined, sharded
from infra.secrets import redact
from pipelines.commands import session, text
from pipelines.commands import studies as study
from pipelines.commands.models import checkpoint, scratch
from pipelines.commands.partial import refuse_taken, whole
from pipelines.commands.studies import Where, option, parse

CONFIG = CONFIGS["open_clip"]
USAGE = "usage: stockpot import SOURCE --out URL | --store URL [--model NAME | --config FILE] [--ancestor CHECKPOINT]\n\n" + (
    "SOURCE: a state dict (.pt, .pth, .bin, .ckpt), a safetensors file or its index, or a folder of open_clip's or of the Hugging Face hub;\n"
    "        by path or URL, or registered in MLflow: models:/NAME/VERSION, models:/NAME@ALIAS.\n"
    "        The architecture is that of --model or --config, else of a configuration beside the weights, else the ancestor's.\n"
    "--out:  the checkpoint's folder. Without it, it becomes a result in the --store, where studies that recycle find it."
)
WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


@dataclass(frozen=True)
class Options(Where):
    """What the weights do not say of themselves."""

    out: str = option("", "folder or URL for the checkpoint; without it, --store takes it in")
    model: str = option("", "architecture of open_clip (ViT-B-32-quickgelu for what was tuned from OpenAI's), or a folder with its configuration")
    config: str = option("", "file with open_clip's configuration: model_cfg and preprocess_cfg, or model_cfg alone")
    ancestor: str = option("", "from which it was tuned: models of one ancestor can be averaged; its text tower completes an image tower")
    classes: tuple[str, ...] = option((), "names of the rows of its classification head")
    data: Dataset | None = option(None, "with --store: what it was trained on, as far as that is known; no study then reports on it")
    tracking: str = option("", "MLflow server or database of models:/ (default: MLFLOW_TRACKING_URI, else the database beside the store)")


Architecture = tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, bytes]]  # model_cfg, preprocess_cfg, files that travel


@dataclass
class Source:
    """Weights as they lie somewhere."""

    url: str  # of the weights
    files: dict[str, str]  # its files by name, and where their bytes can be read
    part: Part
    kind: str = "open_clip"
    config: dict[str, Any] | None = None  # what lies beside them
    extras: dict[str, bytes] = field(default_factory=dict)
    opened: dict[str, Any] = field(default_factory=dict)  # what a state dict was wrapped in


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    if len(words) != 1 or not (options.out or options.store):
        raise ValueError(f"import takes one SOURCE, and --out URL or --store URL; {USAGE.splitlines()[0]}")
    if options.model and options.config:
        raise ValueError("--model and --config both name an architecture: give one of them")
    if options.out:
        refuse_taken(options.out)
        if options.data is not None:
            raise ValueError("--data is kept by a store's record, which --out has not: leave out --data, or --out")
    ancestor = checkpoint(options.ancestor, options) if options.ancestor else None
    with scratch() as run:
        word = there(words[0].removeprefix("local-dir:"), options, run)
        if not options.out and ours(word):
            return _kept(word, options, argv, ancestor)
        source = found(word, run)
        assembly, names = taken(source, options, ancestor, run)
        with contextlib.nullcontext(join(run.dir, "model")) if not options.out else whole(options.out) as folder:
            files = write(folder, assembly)
        print(told(source, names, assembly, ancestor))
        if not options.out:
            return into_store(folder, options, argv, redact(word))
    print(f"wrote {options.out}: {len(files)} files, {text.size(sum(file.size for file in files))}, weights {Checkpoint(options.out).digest[:20]}")
    return 0


def there(word: str, options: Options, run: Local) -> str:
    """Where a SOURCE lies; a registered model is asked for, and its weights looked for where they are no checkpoint folder."""
    if not word.startswith("models:/"):
        return word
    from infra.tracking.registry import registered

    where = study.Options(store=options.store, tracking=options.tracking)
    tracking = session.tracking_uri(where, session.open_store(where, create=False, optional=True))
    if not tracking:
        raise ValueError(f"{word}: which MLflow? give --tracking, the address of the server or database that knows it")
    os.makedirs(run.dir, exist_ok=True)
    folder = registered(tracking, word, run.dir)
    if "://" in folder or any(size(join(folder, name)) is not None for name in CONFIGS.values()):
        return folder
    files = sorted(str(path) for path in Path(folder).rglob("*") if path.suffix in WEIGHTS) if os.path.isdir(folder) else [folder]
    if len(files) != 1:
        raise ValueError(f"{word} leads to {folder}, which has {text.counted(len(files), 'weights file')}; give one of them as SOURCE")
    return files[0]


def ours(word: str) -> bool:
    """Whether a folder is a checkpoint of stockpot's."""
    path = plain(word)
    return path == word and any("stockpot" in (document(join(word, name)) or {}) for name in dict.fromkeys(CONFIGS.values()))


def _kept(word: str, options: Options, argv: Sequence[str], ancestor: Checkpoint | None) -> int:
    """Take a checkpoint of stockpot's as it is. ValueError where a flag says otherwise than it does."""
    if options.model or options.config or options.classes:
        raise ValueError(f"{word} is a checkpoint of stockpot already, which says what it is: leave out --model, --config and --classes")
    if ancestor is not None and ancestor.spec["ancestry"] != Checkpoint(word).spec["ancestry"]:
        raise ValueError(f"{word} says that it descends from another model than {options.ancestor}; leave out --ancestor")
    return into_store(word, options, argv)


def into_store(folder: str, options: Options, argv: Sequence[str], origin: str = "") -> int:
    """Make a checkpoint folder a result of the store; one job, in this process' child."""
    from pipelines.commands.adopt import adopted

    line, code = adopted(folder, study.Options(store=options.store, tracking=options.tracking, ray="none", quiet=True), argv, options.data, origin)
    print(line)
    return code


def found(word: str, run: Local) -> Source:
    """What a SOURCE is. A torch file becomes safetensors in the run's scratch folder, by a process of its own."""
    path = plain(word)
    config = next((name for name in CONFIGS.values() if size(join(word, name)) is not None), "") if path == word else ""
    if not config:
        return replace(_file(word, run), **_beside(os.path.dirname(path) or "."))
    if config == CONFIG:
        pickle = next((name for name in PICKLES if size(join(word, name)) is not None), "")
        if pickle and all(size(join(word, name)) is None for name in ("open_clip_model.safetensors", "open_clip_model.safetensors" + INDEX)):
            return replace(_file(join(word, pickle), run), **_beside(word))
    folder = read(word)
    beside = document(join(word, config)) or {}
    if "stockpot" in beside:
        raise ValueError(f"{word} is a checkpoint of stockpot already: use it as it is, or stockpot export")
    part = folder.parts[MODEL]
    return Source(part.label, _listed(part), part, folder.spec["kind"], beside, side_files(word, folder.side))


def plain(url: str) -> str:
    """A URL without its query, which may be a signature; such a URL is of a file. A path is as it is."""
    return url.partition("?")[0] if "://" in url else url


def _listed(part: Part) -> dict[str, str]:
    """The files of a part by name; shards follow their index."""
    shards = [shard.label for shard, _ in part.pieces] if isinstance(part, Joined) else []
    return {os.path.basename(plain(url)): url for url in (part.label, *shards)}


def _beside(folder: str) -> dict[str, Any]:
    """What a source has of open_clip's configuration in the folder of its file: that, and the vocabulary and other files that travel with it."""
    config = document(join(folder, CONFIG))
    travel = {name: content(join(folder, name)) for name in EXTRAS} if config is not None else {}
    return {"config": config, "extras": {name: found for name, found in travel.items() if found is not None}}


def _file(url: str, run: Local) -> Source:
    if plain(url).endswith(INDEX) or format_of(url) == "safetensors":
        part: Part = sharded(url) if plain(url).endswith(INDEX) else Stored(url, url)
        return Source(url, _listed(part), part)
    from components.models.folder import fetched
    from components.models.torch_file import tensors_of

    os.makedirs(run.dir, exist_ok=True)
    target = os.path.join(run.dir, "unpickled.safetensors")
    with _called(url):
        here = fetched(url, run)
        opened = {what: value for what, value in tensors_of(here, target).items() if value}
    return Source(url, {os.path.basename(plain(url)): here}, Stored(target, url), opened=opened)


@contextlib.contextmanager
def _called(url: str) -> Iterator[None]:
    """Errors about a copy name what it is a copy of."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{url} {str(error).partition(' ')[2]}" if "://" in url else str(error)) from error


def taken(source: Source, options: Options, ancestor: Checkpoint | None, run: Local) -> tuple[Assembly, Names]:
    """The checkpoint about to be, and which tensor was which. ValueError where weights and architecture do not fit."""
    names, parts, extras = Names(), {MODEL: source.part}, dict(source.extras)
    if source.kind == "open_clip":
        from components.models.openclip import outline

        config, preprocess, more = architecture(source, options, ancestor, run)
        extras |= more
        expected, spec = outline(config, preprocess)
        names = named(source.part.layout, expected, int(config["embed_dim"]), source.url)
        if names.missing and ancestor:
            ancestor.verify()
        parts = adopted(source.part, names, ancestor.parts[MODEL] if ancestor else None, source.url)
    else:
        spec = {"kind": source.kind, "model_cfg": source.config, "preprocess_cfg": {}}
    classes = list(options.classes or source.opened.pop("classes", ()))
    rows = names.head["head.weight"].shape[0] if names.head else 0
    if classes and rows != len(classes):
        raise ValueError(f"{len(classes)} classes are named, e.g. {classes[0]}, and the head of {source.url} has {rows} rows; name one for each row")
    spec["classes"] = classes or None
    spec["name"] = redact(os.path.basename(plain(source.url)))
    facts: dict[str, Any] = {"source": redact(source.url), "sha256": {name: sha256(place) for name, place in source.files.items()}}
    facts |= source.opened | names.told() | ({"from_ancestor": names.missing} if names.missing else {})
    one = Ingredient(source.url, ONE, parts, spec, extras, "")
    assembly = assemble([one], Policy(), {"imported": facts})
    del assembly.spec["lineage"]  # it is a leaf
    assembly.spec["ancestry"] = ancestor.spec["ancestry"] if ancestor else None
    return assembly, names


def architecture(source: Source, options: Options, ancestor: Checkpoint | None, run: Local) -> Architecture:
    """What the weights are weights of. ValueError where nothing says it."""
    if options.model:
        from components.models.openclip import OpenClip

        blueprint = OpenClip(options.model).blueprint(run)
        return blueprint.model, blueprint.preprocess, blueprint.extras
    config, where = source.config, f"the configuration beside {source.url}"
    if options.config:
        config, where = document(options.config), options.config
        if config is None:
            raise ValueError(f"--config {options.config} does not exist; give open_clip's configuration as a JSON file")
    if config is not None:
        model = config.get("model_cfg", config)
        if not isinstance(model, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= model.keys():
            raise ValueError(f"{where} is not open_clip's: it needs embed_dim, vision_cfg and text_cfg, in model_cfg or alone; name it by --model")
        return model, config.get("preprocess_cfg") or {}, {}
    if ancestor is None:
        raise ValueError(f"{source.url} does not say what it is: give --model NAME (open_clip's), --config FILE, or --ancestor CHECKPOINT")
    return ancestor.spec["model_cfg"], ancestor.spec["preprocess_cfg"], ancestor.extras


def sha256(url: str) -> str:
    """The plain sha256 of a file, as publishers print it."""
    total = hashlib.sha256()
    for piece in pieces(url):
        total.update(piece)
    return total.hexdigest()


def told(source: Source, names: Names, assembly: Assembly, ancestor: Checkpoint | None) -> str:
    """What was taken, renamed and left out."""
    lines = [f"{redact(source.url)}: {text.counted(sum(len(plan.layout) for plan in assembly.plans.values()), 'tensor')}"]
    for what, value in {**source.opened, **names.told()}.items():
        shown = list(value) if len(value) <= 5 else [*list(value)[:5], f"{len(value) - 5} more"]
        lines.append(f"  {what}: {', '.join(map(str, shown))}")
    if names.missing:
        lines.append(f"  from the ancestor: {text.counted(len(names.missing), 'tensor')}, e.g. {names.missing[0]}")
    if source.kind != "open_clip":
        lines.append(f"  a model of {source.kind}: it can be merged and exported; only open_clip's are evaluated")
    if ancestor is None:
        lines.append("  its own ancestor; a model that was tuned from another says so by --ancestor, and can then be averaged with its siblings")
    return "\n".join(lines)
