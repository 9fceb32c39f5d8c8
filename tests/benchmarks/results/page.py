"""docs/results.md, written from what the runs recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite

from components.analysis.intervals import over_seeds
from tests.benchmarks.results.claims import CLAIMS, Claim
from tests.benchmarks.results.runs import SEEDS
from tests.benchmarks.results.told import Missing, Told
from tests.benchmarks.results.why import WHY

HEAD = """# Results

    make results

runs every study of the weight-space literature over three base models and five seeds (seeds {seeds}), and writes this page from
what they recorded. Base 0 is the shipped `stockpot-tiny`; bases 1 and 2 are `stockpot run pretrain tiny` from other initialisations and
orders. The seed draws hyper-parameters, orders, views and random vectors. Each number is the mean over the five runs with an expanded
percentile bootstrap over them (95 %, [arXiv:1411.5279](https://arxiv.org/abs/1411.5279)): five runs of tiny models on tiny data, which show
that the machinery is right and where a claim is visible at this scale, and no more. Seeds, claims and thresholds were written down before any
of these runs, and after runs with seed 0 on base 0, which are on each study's page; tasks and rates as that page says. What came out stands here.

A claim is **reproduced** where the whole interval lies above the threshold, **contradicted** where it lies below, and **open** where it
holds it. What the intervals do not hold: all runs answer the same test examples; runs on one base have that base in common, and are counted
as if they had not; and of {claims} claims some would come out by chance, for which nothing is corrected. Robustness to invert, colour, texture,
rotation and blur is in the base models by construction, whose pretraining has such images; noise, low contrast and occlusion mostly follow accuracy.
"""


def number(value: float, unit: str) -> str:
    return f"{value:+.1f}" if unit == "points" else f"{value:.2f}"


def verdict(claim: Claim, low: float, high: float) -> str:
    return "**reproduced**" if low > claim.least else "contradicted" if high < claim.least else "open"


def known(claim: Claim, run: Told) -> float | None:
    """The number of a run; None where the run has no such exhibit or model, or the number is undefined."""
    try:
        value = claim.measure(run)
    except Missing:
        return None
    return value if isfinite(value) else None


def measured(claim: Claim, runs: Sequence[Told]) -> tuple[str, str, str]:
    """(value with interval and unit, verdict, each run). Runs without the number are left out, and shown as such."""
    values = [known(claim, run) for run in runs]
    there = [value for value in values if value is not None]
    each = ", ".join("none" if value is None else number(value, claim.unit) for value in values)
    if len(there) < 2:
        return "", "not measured", each
    mean = over_seeds(there)
    text = f"{number(mean.value, claim.unit)} ({number(mean.low, claim.unit)} to {number(mean.high, claim.unit)}) {claim.unit}".rstrip()
    return text, verdict(claim, mean.low, mean.high), each


def claims(found: Mapping[str, Sequence[Told]]) -> list[str]:
    """One row for each published claim."""
    lines, reasons = ["| study | claim, source | measured | holds above | by run | verdict |", "|---|---|---|---|---|---|"], []
    for claim in CLAIMS:
        if not found.get(claim.study):
            continue
        value, result, runs = measured(claim, found[claim.study])
        lines.append(f"| {claim.study} | {claim.text} ({claim.source}) | {value} | {claim.least:g} | {runs} | {result} |")
        if result != "**reproduced**":
            reasons.append(f"- *{claim.study}: {claim.text}*: {result}. {WHY.get(claim.text, 'No reason was looked for.')}")
    return [*lines, "", "### What did not reproduce, and the likely reason", "", *reasons]


def table(runs: Sequence[Told]) -> list[str]:
    """The main table of a study: the mean accuracy over runs of each model on each split, and its interval."""
    rows = runs[0].tables["table"]
    splits = list(dict.fromkeys(row["split"] for row in rows))
    splits = [*([runs[0].here] if runs[0].here else []), runs[0].mean, *(s for s in splits if s not in (runs[0].here, runs[0].mean))]
    everywhere = [{(row["model"], row["split"]): row["top1"] for row in run.tables["table"]} for run in runs]
    main = [m for m in dict.fromkeys(row["model"] for row in rows) if m in runs[0].main]
    models = [m for m in main if all((m, splits[0]) in each for each in everywhere)]
    lines = [f"| model | {' | '.join(splits)} |", f"|{'---|' * (len(splits) + 1)}"]
    for model in models:
        cells = []
        for split in splits:
            mean = over_seeds([100 * each[model, split] for each in everywhere])
            interval = f" ({mean.low:.1f} to {mean.high:.1f})" if split in splits[:2] else ""
            cells.append(f"{mean.value:.1f}{interval}")
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return lines


def page(found: Mapping[str, Sequence[Told]]) -> str:
    """The whole page."""
    seeds = "; ".join(f"{', '.join(map(str, own))} on base {base}" for base, own in SEEDS.items())
    lines = [HEAD.format(seeds=seeds, claims=len(CLAIMS)), "## The claims", "", *claims(found)]
    for name, runs in found.items():
        if runs:
            lines += ["", f"## {name}", "", f"Percent, mean over {len(runs)} runs; see [studies/{name}.md](studies/{name}.md).", "", *table(runs)]
    return "\n".join(lines) + "\n"
