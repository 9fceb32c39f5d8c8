"""`stockpot export CHECKPOINT --out PATH`: a checkpoint for other programs, as a folder of open_clip's or as one torch file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from components.types import File
from components.weights import Policy, Vector
from components.weights.destination import write
from components.weights.files import join, local, pieces, size
from components.weights.foreign import TORCH
from pipelines.commands import text
from pipelines.commands.models import checkpoint, scratch
from pipelines.commands.partial import refuse_taken, whole
from pipelines.commands.studies import Where, option, parse

USAGE = "usage: stockpot export CHECKPOINT --out PATH [--dtype float16|bfloat16] [--format open_clip|pt]\n\n" + (
    "CHECKPOINT: a checkpoint folder or URL, a key of the store, or a study's name (its winner; soup:smoke is that of a preset)\n"
    "open_clip: a folder for open_clip.create_model('local-dir:PATH'); pt: {'state_dict': ...} in one file, which is a pickle of tensors"
)


@dataclass(frozen=True)
class Options(Where):
    """In which form."""

    out: str = option("", "folder, or file ending in .pt, to write; a path or URL")
    dtype: Literal["", "float64", "float32", "float16", "bfloat16"] = option("", "of the weights (default: their own)")
    format: Literal["", "open_clip", "pt"] = option("", "a folder, or one file (default: what the name of --out says)")


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    if len(words) != 1 or not options.out:
        raise ValueError(f"export takes one CHECKPOINT and --out PATH; {USAGE.splitlines()[0]}")
    model = checkpoint(words[0], options)
    model.verify()
    changed = model.combination().under(Policy(options.dtype)).describe(**model.spec.get("facts") or {}) if options.dtype else model
    kind = options.format or ("pt" if options.out.endswith(TORCH) else "open_clip")
    files = (folder if kind == "open_clip" else pickled)(changed, options.out)
    print(f"wrote {options.out}: {text.counted(len(files), 'file')}, {text.size(sum(file.size for file in files))}")
    return 0


def folder(model: Vector, out: str) -> list[File]:
    """A folder that open_clip opens. ValueError for the name of a file."""
    if out.endswith(TORCH):
        raise ValueError(f"--out {out} is the name of a torch file: say --format pt, or name a folder")
    refuse_taken(out)
    with whole(out) as place:
        return model.save(place)


def pickled(model: Vector, out: str) -> list[File]:
    """One torch file. ValueError for a name that does not say so, and for one that is taken."""
    if not out.endswith(TORCH):
        raise ValueError(f"--out {out}: a torch file is named {' or '.join(TORCH)}")
    if size(out) is not None or os.path.isdir(local(out) or ""):
        raise ValueError(f"{out} exists; choose another --out")
    from components.models.torch_file import save

    with scratch() as run:
        os.makedirs(run.dir, exist_ok=True)
        save(model, join(run.dir, "model.pt"))
        where, slash, name = out.rpartition("/")
        return [write(where or slash or ".", name, pieces(join(run.dir, "model.pt")))]
