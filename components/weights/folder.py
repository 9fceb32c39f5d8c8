"""A checkpoint on disk: a folder that `open_clip.create_model("local-dir:...")` opens as it is.

    open_clip_config.json         model_cfg, preprocess_cfg, and our facts under the top-level key `stockpot`, which open_clip ignores
    open_clip_model.safetensors   the model (kinds timm and transformers: config.json and model.safetensors)
    head.safetensors              head.weight [K, D] and head.bias [K], where there is a classifier
    objective.safetensors         objective.*, what an objective keeps
    bpe.txt.gz ...                side files that travel
    card.md                       where it comes from and how to load it

Folders of the Hugging Face hub are read as well, also where the model is in shards (`open_clip_model.safetensors.index.json`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from components.types import DataError, File, in_order
from components.weights import destination, engine, files
from components.weights.agreement import HEAD, MODEL, OBJECTIVE
from components.weights.assembly import Assembly
from components.weights.card import card
from components.weights.parts import Part, Stored
from components.weights.plan import Plan
from components.weights.sharded import INDEX, sharded

FORMAT = 1
CONFIGS = {"open_clip": "open_clip_config.json", "timm": "config.json", "transformers": "config.json"}
MODELS = {"open_clip": "open_clip_model.safetensors", "timm": "model.safetensors", "transformers": "model.safetensors"}
SIDE = {HEAD: "head.safetensors", OBJECTIVE: "objective.safetensors"}
EXTRAS = (
    "bpe.txt.gz", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "vocab.txt", "merges.txt",
    "preprocessor_config.json", "generation_config.json",
)  # fmt: skip
PICKLES = ("open_clip_pytorch_model.bin", "pytorch_model.bin", "open_clip_model.pt", "model.pt")


@dataclass
class Folder:
    """What the configuration of a stored checkpoint says; no tensor has been looked at."""

    spec: dict[str, Any]
    parts: dict[str, Part]
    side: dict[str, File | None]  # the files that travel, with their records


def read(url: str, check: bool = False) -> Folder:
    """Open a folder by its configuration. ValueError: no checkpoint, or one of another format; DataError: a damaged one."""
    kind, config = _config(url)
    ours = config.pop("stockpot", {})
    if not isinstance(ours, dict):
        raise DataError(f"{files.join(url, CONFIGS[kind])} has a stockpot entry that is not a table; write it again")
    version = ours.pop("format", FORMAT)
    if version != FORMAT:
        raise ValueError(f"{url} has checkpoint format {version}, this stockpot reads {FORMAT}: use the stockpot that wrote it")
    records = _records(url, ours.pop("files", []))
    if kind == "open_clip":
        spec = {**ours, "kind": kind, "model_cfg": config.get("model_cfg") or {}, "preprocess_cfg": config.get("preprocess_cfg") or {}}
    else:
        spec = {**ours, "kind": kind, "model_cfg": config, "preprocess_cfg": ours.get("preprocess_cfg") or {}}
    names = {MODEL: MODELS[kind], **SIDE}
    usual = [*names.values(), names[MODEL] + INDEX, *EXTRAS]
    exists = list(records) or [name for name in usual if files.size(files.join(url, name)) is not None]
    present = {role: name for role, name in names.items() if name in exists}
    parts: dict[str, Part] = {}
    if MODEL not in present and names[MODEL] + INDEX in exists:
        parts[MODEL] = sharded(files.join(url, names[MODEL] + INDEX))
    elif MODEL not in present:
        found = [name for name in PICKLES if files.size(files.join(url, name)) is not None]
        remedy = f"{found[0]} is a pickle, which is never read here: use stockpot import {url}" if found else "fetch or save it again"
        raise ValueError(f"no weights at {url}: {names[MODEL]} is missing; {remedy}")
    for role, name in present.items():
        address = files.join(url, name)
        parts[role] = Stored(address, address, records.get(name), check)
    return Folder(spec, parts, {name: records.get(name) for name in exists if name not in [*names.values(), names[MODEL] + INDEX]})


def _config(url: str) -> tuple[str, dict[str, Any]]:
    names = tuple(dict.fromkeys(CONFIGS.values()))
    for name in names:
        config = files.document(files.join(url, name))
        if config is not None:
            other = "transformers" if "model_type" in config or "architectures" in config else "timm"
            return ("open_clip" if name == CONFIGS["open_clip"] else other), config
    told = " nor ".join(names)
    raise ValueError(f"no checkpoint at {url}: it has neither {told}; give a folder that open_clip or stockpot saved")


def side_files(url: str, side: Mapping[str, File | None]) -> dict[str, bytes]:
    """The contents of the files that travel; DataError where one is not as recorded."""
    found = {}
    for name, record in side.items():
        content = files.content(files.join(url, name))
        if content is None or (record is not None and files.digest(content) != record.digest):
            raise DataError(f"{files.join(url, name)} {'is missing' if content is None else 'is not as recorded'}; fetch or save it again")
        found[name] = content
    return found


def write(url: str, assembly: Assembly, map: Callable[..., Any] = in_order, progress: Callable[[int, int], None] | None = None) -> list[File]:
    """Write the folder: tensors first, the configuration that names their digests last."""
    spec, plans = assembly.spec, {role: plan for role, plan in assembly.plans.items() if plan.layout}
    kind = spec.get("kind") or "open_clip"
    _writable(url, kind, spec, plans)
    names = {MODEL: MODELS[kind], **SIDE}
    done, total = 0, sum(plan.size for plan in plans.values())

    def more(count: int) -> None:
        nonlocal done
        done = min(done + count, total)
        if progress:
            progress(done, total)

    last = files.join(url, CONFIGS[kind])
    written = [engine.write(plan, url, names[role], last, map, more) for role, plan in plans.items()]
    written += [destination.write(url, name, [content]) for name, content in sorted(assembly.extras.items())]
    ours = {key: value for key, value in spec.items() if key not in ("kind", "model_cfg", "preprocess_cfg")}
    ours |= {"format": FORMAT, "files": [[file.name, file.size, file.digest] for file in written]}
    written.append(destination.write(url, "card.md", [card(spec, kind, [file.name for file in written]).encode()]))
    architecture, preprocess = spec.get("model_cfg") or {}, spec.get("preprocess_cfg") or {}
    if kind == "open_clip":
        config = {"model_cfg": architecture, "preprocess_cfg": preprocess, "stockpot": ours}
    else:
        config = {**architecture, "stockpot": {**ours, "preprocess_cfg": preprocess}}
    text = json.dumps(config, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    written.append(destination.write(url, CONFIGS[kind], [text.encode()], last))
    return written


def _writable(url: str, kind: str, spec: Mapping[str, Any], plans: Mapping[str, Plan]) -> None:
    """ValueError for what would fail, or destroy an ingredient, after the long part."""
    if kind not in MODELS:
        raise ValueError(f"nothing to save at {url}: kind {kind!r} is unknown; say one of {', '.join(MODELS)}")
    if MODEL not in plans:
        raise ValueError(f"nothing to save at {url}: a checkpoint needs the model's own weights, not only {', '.join(plans) or 'nothing'}")
    for plan in plans.values():
        for source in plan.sources:
            if files.place(url) in {files.place(found.rpartition("/")[0] or ".") for found in source.part.urls}:
                raise ValueError(f"cannot save at {url}: it holds an ingredient that is being read; choose another folder")
    try:
        json.dumps(spec, allow_nan=False)
    except (TypeError, ValueError) as error:
        remedy = "use finite numbers, strings and lists"
        raise ValueError(f"cannot save at {url}: the specification or a fact is not JSON ({error}); {remedy}") from error


def _records(url: str, listed: Any) -> dict[str, File]:
    try:
        records = {str(name): File(str(name), int(size), str(digest)) for name, size, digest in listed}
    except (TypeError, ValueError) as error:
        raise DataError(f"{url} lists its files in a way that is not ours ({error}); write it again") from error
    for name in records:
        if "/" in name or "\\" in name or name in ("", ".", ".."):
            raise DataError(f"{url} lists the file {name!r}, which is not a plain name; write it again")
    return records


def split(tensors: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Tensors by the file in which they belong."""
    roles: dict[str, dict[str, Any]] = {}
    for key, value in tensors.items():
        role = HEAD if key.startswith("head.") else OBJECTIVE if key.startswith("objective.") else MODEL
        roles.setdefault(role, {})[key] = value
    return {role: roles[role] for role in (MODEL, HEAD, OBJECTIVE) if role in roles}
