"""`stockpot merge RULE A B C --out URL`: combine checkpoints. `--plan` reads their headers only, and writes nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from components.types import File
from components.weights import Checkpoint, Combination, Vector, mean
from pipelines.commands import text
from pipelines.commands.bar import shown
from pipelines.commands.models import checkpoint, scratch
from pipelines.commands.partial import refuse_taken, whole
from pipelines.commands.rules import Rule, chosen
from pipelines.commands.studies import Where, option

if TYPE_CHECKING:
    from components.weights.plan import Plan


@dataclass(frozen=True)
class Options(Where):
    """What becomes of the result."""

    out: str = option("", "folder or URL for the result")
    plan: bool = option(False, "say what would be read, averaged and copied, and write nothing")
    verify: bool = option(False, "compare every byte of the models with what was recorded first")


def main(argv: Sequence[str]) -> int:
    rule, names, options = chosen(argv, Options)
    if not options.out and not options.plan:
        raise ValueError("merge needs --out URL for the result, or --plan")
    if options.out:
        refuse_taken(options.out)
    models = [checkpoint(name, options, check=False) for name in names]
    if options.verify:
        for model in models:
            model.verify()
    if options.plan:
        print(*planned(rule, names, models, options), sep="\n")
        return 0
    with scratch() as run:
        merged = rule.measured(rule.call(models, options, run), options, run)
        if isinstance(merged, Vector):
            print(*told(rule, merged, names, models), sep="\n", flush=True)
        started = time.monotonic()
        with whole(options.out) as folder, shown("merging") as progress:
            files = merged.save(folder, progress=progress) if isinstance(merged, Vector) else merged.save(folder)
        seconds = time.monotonic() - started
        print(*kept(options.out, merged, files, seconds), sep="\n")
    return 0


def kept(url: str, made: Any, files: Sequence[File], seconds: float) -> list[str]:
    """What was written, and how fast."""
    written = sum(file.size for file in files)
    line = f"wrote {url}: {len(files)} files, {text.size(written)}"
    if not isinstance(made, Vector):
        return [line]
    read = sum(entry.stop - entry.start for plan in made.assembly.plans.values() for slot in plan.slots for _, _, entry in slot.sources)
    speed = f"{(read + written) / 1e6 / max(seconds, 1e-9):.0f} MB/s read and written"
    return [f"{line}, weights {Checkpoint(url).digest[:20]}", f"{text.size(read)} of tensors combined in {seconds:.2f} s, {speed}"]


def planned(rule: Rule, names: Sequence[str], models: Sequence[Checkpoint], options: Any) -> list[str]:
    """What a merge would do. A rule that looks at data or tensors first is told as the mean of its models; of statistics, only their model is."""
    from components.weights.plan import COUNTER, STATISTICS

    merged = mean(models, rule.policy(options)) if rule.computes else rule.call(models, options, None)
    lines = told(rule, merged, names, models, known=not rule.computes)[: None if rule.gives_model else -1]
    plans = merged.assembly.plans.values()
    if rule.computes:
        lines.append(f"what {rule.name} makes of them is known when it runs")
    if rule.recomputes(options):
        keys = [key for plan in plans for key in plan.layout if any(fnmatchcase(key, one) for one in (*STATISTICS, COUNTER))]
        lines.append(f"{len(keys)} BatchNorm statistics will be measured anew on {rule.recomputes(options)}")
    more = ", and what looking at data takes" if rule.computes or rule.recomputes(options) else ""
    return [*lines, f"memory: at most about {text.size(memory(list(plans)))} beside the interpreter{more}"]


def memory(plans: Sequence[Plan]) -> int:
    """The bytes of the engine's buffers: they grow with neither the number nor the size of the models."""
    from components.weights.ahead import AHEAD, PIECE, is_remote
    from components.weights.engine import BLEND, SLAB, STEP, UPLOADS
    from components.weights.files import CHUNK
    from components.weights.scan import BESIDE
    from components.weights.threads import cores

    remote = any(map(is_remote, plans))
    threads = 1 if remote else cores()
    more = BESIDE + threads * 2 * BLEND if any(plan.method for plan in plans) else 0  # what a method gets, and what it makes of that
    if remote:  # what has come, and is being put together; sums; chunks, of which those on their way are held twice
        return (2 * AHEAD + 1 + 2) * PIECE + (1 + 2 * UPLOADS) * CHUNK + more
    return threads * (3 * 8 * SLAB + STEP) + more + (1 << 22)  # and headers, and plans


def told(rule: Rule, merged: Vector, names: Sequence[str], models: Sequence[Checkpoint], known: bool = True) -> list[str]:
    """Ingredients with their keys, bytes, types, weights and ancestors; then what becomes of the keys. ValueError where they cannot be combined."""
    from components.weights.layout import AVERAGED

    layouts = [entry for plan in merged.assembly.plans.values() for entry in plan.layout.values()]
    where, short = shortened(names)
    shares = weights(rule, merged, models) if known else ["?"] * len(models)
    rows = [["ingredient", "weight", "keys", "bytes", "types", "ancestor"]]
    for name, weight, model in zip(short, shares, models, strict=True):
        entries = [entry for part in model.parts.values() for entry in part.layout.values()]
        kept = sum(entry.stop - entry.start for entry in entries)
        types = ",".join(dict.fromkeys(AVERAGED[entry.dtype] for entry in entries if entry.dtype in AVERAGED))
        rows.append([name, weight, str(len(entries)), text.size(kept), types, str(model.spec.get("ancestry"))[:12]])
    lines = [f"in {where}"] if where else []
    lines += text.columns(rows, right=(1, 2, 3))
    lines += [f"note: {short[i]} is {why}; {rule.name} takes the {rule.first[i]} first" for i, why in misplaced(rule, models)]
    search = merged.spec["facts"].get("search", ())
    lines += [f"{short[entry['index']]}: {'kept' if entry['accepted'] else 'left out'}, {entry['reason']}" for entry in search]
    to_write = text.size(sum(entry.stop - entry.start for entry in layouts))
    return [*lines, f"result: {len(layouts)} keys ({fate(merged, rule.name)}), {to_write} of tensors"]


def misplaced(rule: Rule, models: Sequence[Checkpoint]) -> list[tuple[int, str]]:
    """(place, what is odd about it): a base that is not what the others were tuned from, but was tuned from it as they were."""
    ancestors = {model.spec.get("ancestry") for model in models}
    places = [i for i, name in enumerate(rule.first) if name == "base"]
    odd = [i for i in places if len(ancestors) == 1 and "model" in models[i].parts and models[i].parts["model"].digest not in ancestors]
    return [(i, "no ancestor of the others, but tuned from one as they were") for i in odd]


def weights(rule: Rule, merged: Vector, models: Sequence[Checkpoint]) -> list[str]:
    """The weight of each model: a number, `by key`, `above` where it is named twice, or the part that it plays where the values decide."""
    if isinstance(merged, Combination):
        found = {one.key: number(weight) for one, weight in merged.terms}
        keys = [model.key for model in models]
        return ["above" if key in keys[:i] else found.get(key, "0") for i, key in enumerate(keys)]
    return [*rule.first, *(["model"] * (len(models) - len(rule.first)))]


def number(weight: Any) -> str:
    """A coefficient: its fraction, or five digits of one that is long."""
    if not weight.plain:
        return "by key"
    exact = str(weight.to_json())
    return exact if len(exact) < 10 else f"{float(weight.at('')):.5g}"


def shortened(names: Sequence[str], most: int = 40) -> tuple[str, list[str]]:
    """(the folder that all lie in, or "", the names within it), of each its last `most` letters."""
    folders = [name.split("/")[:-1] for name in names]
    common = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))]
    where = "/".join([*common, ""]) if any(common) and common[-1] else ""  # not a scheme alone
    rest = [name.removeprefix(where) for name in names]
    return where, [name if len(name) <= most else f"...{name[3 - most :]}" for name in rest]


FATES = {
    "averaged": "averaged", "copied": "copied", "counters": "counters, from one of them", "from_base": "from the base",
    "mixed": "of mixed types, float32 in the result",
}  # fmt: skip


def fate(merged: Vector, rule: str) -> str:
    """What becomes of the keys, by number."""
    fates = FATES if isinstance(merged, Combination) else {**FATES, "averaged": f"by {rule}"}
    counts = {what: found if isinstance(found, int) else len(found) for what, found in merged.spec["lineage"]["keys"].items()}
    return ", ".join(f"{count} {fates.get(what, what)}" for what, count in counts.items() if count)
