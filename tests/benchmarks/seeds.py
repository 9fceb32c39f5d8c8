"""Greedy soup against the best single fine-tune over five seeds, with intervals: the numbers of docs/results.md.

    python -m tests.benchmarks.seeds [STORE]

Each seed draws its own sweep (hyper-parameters, order and views). Differences are paired by example within a seed; the interval over seeds is
an expanded percentile bootstrap of the five differences. What is printed is what came out.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from components.analysis.intervals import over_seeds
from components.analysis.table import MEAN
from components.weights.digests import digests_of
from infra.dag import Fingerprints
from infra.store import Store
from infra.store.pins import Pins
from pipelines.soup import Soup

SEEDS = 5
MODELS = ("zero-shot", "uniform soup", "greedy soup", "ensemble", "greedy ensemble", "WiSE-FT 0.5")


def tables(store: str) -> list[dict[tuple[str, str], Any]]:
    """{(model, split): row} of every seed, computed first where it is missing."""
    found = []
    for seed in range(SEEDS):
        subprocess.run([sys.executable, "-m", "pipelines", "run", "soup", "tiny", "--seed", str(seed), "--store", store], check=True)
        plan, place = Soup(seed=seed).plan(), Store(store)
        pins = Pins(place.place, digests_of).of(plan)
        rows = place.load(Fingerprints(pins).key(plan.targets["table"])).rows
        found.append({(row["model"], row["split"]): row for row in rows})
    return found


def main() -> None:
    seeds = tables(sys.argv[1] if len(sys.argv) > 1 else "store")
    splits = list(dict.fromkeys(split for _, split in seeds[0]))
    splits = [splits[0], MEAN, *(split for split in splits[1:] if split != MEAN)]
    single = {split: [seed["best single", split]["top1"] for seed in seeds] for split in splits}
    print(f"| split | best single | {' | '.join(MODELS)} |\n|{'---|' * (len(MODELS) + 2)}")
    for split in splits:
        cells = [f"{100 * sum(single[split]) / len(seeds):.1f}"]
        for model in MODELS:
            gap = over_seeds([seed[model, split]["top1"] - seed["best single", split]["top1"] for seed in seeds])
            cells.append(f"{100 * gap.value:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})")
        print(f"| {split} | {' | '.join(cells)} |")
    print("\ngreedy - best single by seed, points:")
    for split in splits:
        gaps = [100 * (seed["greedy soup", split]["top1"] - seed["best single", split]["top1"]) for seed in seeds]
        print(f"  {split:<16}" + "".join(f"{gap:>7.1f}" for gap in gaps))


if __name__ == "__main__":
    main()
