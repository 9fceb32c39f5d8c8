"""`stockpot merge RULE A B C --out URL`: combine checkpoints; nothing but their bytes is read, and `--plan` reads their headers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import components.data.microworld  # noqa: F401 (so that --data knows all that there is)
from components.types import Dataset
from components.weights import Checkpoint, Combination, Policy
from components.weights.files import join, size
from pipelines.commands import text
from pipelines.commands.fields import near
from pipelines.commands.models import answers, checkpoint, scratch
from pipelines.commands.studies import Where, option, parse

RULES = {"uniform": "the mean", "wise_ft": "the line from the first, a zero-shot model, to the second", "greedy": "what helps on --data"}
USAGE = "usage: stockpot merge RULE A B C ... --out URL [--plan]\n\n" + (
    "RULE: " + "; ".join(f"{name}: {told}" for name, told in RULES.items()) + "\nA B C: checkpoint folders or URLs, keys of the store, or studies"
)


@dataclass(frozen=True)
class Options(Where):
    """How they are combined."""

    out: str = option("", "folder or URL for the result")
    plan: bool = option(False, "say what would be read, averaged and copied, and write nothing")
    alpha: float | None = option(None, "wise_ft: 0 is the first model, 1 the second")
    data: Dataset | None = option(None, "greedy: the labelled examples on which a candidate must help")
    accept: Literal["gt", "ge"] = option("gt", "greedy: keep what is better (gt), or not worse (ge)")
    unlike_ancestry: bool = option(False, "proceed where the models descend from different ones")
    unlike_preprocess: bool = option(False, "proceed where their preprocessing differs")
    bn: Literal["", "average", "from_base"] = option("", "BatchNorm statistics that differ: average, from_base")
    dtype: Literal["", "float64", "float32", "float16", "bfloat16"] = option("", "of the averaged values (default: their own)")


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    rule, names = (words[0] if words else ""), words[1:]
    if rule not in RULES:
        raise ValueError(f"{rule!r} is not a rule{near(rule, RULES)}; there are {', '.join(RULES)}")
    if len(names) < 2:
        raise ValueError(f"merge {rule} takes two models or more, got {len(names)}")
    if not options.out and not options.plan:
        raise ValueError("merge needs --out URL for the result, or --plan")
    if options.out and any(size(join(options.out, name)) is not None for name in ("open_clip_config.json", "config.json")):
        raise ValueError(f"{options.out} holds a model already; choose another --out")
    models = [checkpoint(name, options) for name in names]
    merged = combined(rule, models, options)
    print(told(merged, names, models))
    if options.plan:
        return 0
    files = merged.save(options.out)
    print(f"wrote {options.out}: {len(files)} files, {text.size(sum(file.size for file in files))}, weights {Checkpoint(options.out).digest[:20]}")
    return 0


def combined(rule: str, models: list[Checkpoint], options: Options) -> Combination:
    """The combination that a rule makes of the models, unevaluated; greedy evaluates its candidates."""
    policy = Policy(options.dtype, options.bn, options.unlike_ancestry, options.unlike_preprocess)
    if rule == "uniform":
        from components.merge.uniform import uniform

        return uniform(models, policy)
    if rule == "wise_ft":
        from components.merge.wise_ft import wise_ft

        if len(models) != 2 or options.alpha is None:
            raise ValueError(f"wise_ft takes the zero-shot model, the tuned one and --alpha, got {len(models)} models, alpha {options.alpha}")
        return wise_ft(models[0], models[1], options.alpha, policy)
    from components.merge.greedy import greedy

    if options.data is None:
        raise ValueError("greedy needs --data: the held-out examples on which a candidate must help")
    with scratch() as run:
        return greedy(models, [answers(model, options.data)[0] for model in models], options.data, options.accept, policy, run=run)


def told(merged: Combination, names: Sequence[str], models: Sequence[Checkpoint]) -> str:
    """Ingredients with their keys, bytes, weights and ancestors, and what becomes of the keys. ValueError where they cannot be combined."""
    weights = {one.key: str(rule.to_json()) if rule.plain else "by key" for one, rule in merged.terms}
    plans = merged.assembly.plans
    rows = [["ingredient", "weight", "keys", "bytes", "ancestor"]]
    for name, model in zip(names, models, strict=True):
        entries = [entry for part in model.parts.values() for entry in part.layout.values()]
        kept = sum(entry.stop - entry.start for entry in entries)
        rows.append([name, weights.get(model.key, "0"), str(len(entries)), text.size(kept), str(model.spec.get("ancestry"))[:20]])
    keys = {what: count for what, count in merged.spec["lineage"]["keys"].items() if count}
    fate = ", ".join(f"{count if isinstance(count, int) else len(count)} {what}" for what, count in keys.items())
    layouts = [entry for each in plans.values() for entry in each.layout.values()]
    to_write = text.size(sum(entry.stop - entry.start for entry in layouts))
    search = [f"{names[e['index']]}: {'kept' if e['accepted'] else 'left out'}, {e['reason']}" for e in merged.facts.get("search", ())]
    return "\n".join([*text.columns(rows, right=(2, 3)), *search, f"result: {len(layouts)} keys ({fate}), {to_write} of tensors"])
