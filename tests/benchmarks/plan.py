"""How long a plan takes to describe, to check and to fingerprint: `python -m tests.benchmarks.plan [TRIALS]`."""

from __future__ import annotations

import dataclasses
import sys
import time

from infra.dag import Fingerprints
from infra.hygiene import Uses
from infra.schedule import Schedule
from pipelines.soup import PRESETS


def main(trials: int) -> None:
    begun = moment = time.perf_counter()
    plan = dataclasses.replace(PRESETS["tiny"], trials=trials).plan()
    nodes = plan.nodes()
    print(f"{len(nodes)} nodes of soup tiny with {trials} trials")

    def lap(step: str) -> None:
        nonlocal moment
        print(f"  {time.perf_counter() - moment:6.2f} s  {step}")
        moment = time.perf_counter()

    lap("described, selection checked")
    prints = Fingerprints()
    for node in nodes:
        prints.of(node)
    lap("fingerprinted")
    Schedule(plan, prints.key, lambda keys: ())
    lap("scheduled")
    uses = Uses(prints.canon)
    for node in nodes:
        uses.add(node)
    lap("data of every record")
    print(f"  {time.perf_counter() - begun:6.2f} s  in all")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
