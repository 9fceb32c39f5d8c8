"""How many images the greedy search shows to its candidates, against the plain algorithm, which shows every candidate every example.

    python -m tests.benchmarks.greedy [--store STORE] [--matrices 200]

Recorded trials: the 32 fine-tunes of `soup tiny --trials 32` (trained first where STORE does not hold them), every candidate really built and
evaluated on the held-out digits. Seeded matrices: 32 models, 1,000 examples; the latent margin of model i on example j is
m[i, j] = skill[i] - difficulty[j] + logistic noise, so that the probability of a right answer is the logistic function of skill - difficulty
(the Rasch model). difficulty ~ N(0, 3); skill ~ N(mu, 0.5), mu ~ U(1.5, 6) by matrix: single models are right about 67 to 95 times of 100. A
soup is right where the mean of its members' margins is above 0; the search sees right and wrong answers alone, never margins. The generator
was fixed before the first result and is not to be fitted to one.

Images: with n candidates at once, those shown to candidates behind an accepted one, in vain, are counted; the predictions that rank the
models are not. Aim: at most 0.35 with one at a time, 0.6 with four, the members identical every time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from components.evaluate import Count, outputs, predict, stage, tally
from components.merge.greedy import greedy, visits
from components.merge.search import Accept, ranked, search
from components.predictions import Predictions
from components.train import train
from components.types import Local
from components.weights import mean
from components.weights.digests import digests_of
from infra.backends import local
from infra.dag import Plan
from infra.job import Site
from infra.runner import Runner
from infra.store import Store
from infra.store.pins import Pins
from pipelines.soup import Soup

TRIALS, EXAMPLES = 32, 1000
ACCEPT: tuple[Accept, ...] = ("gt", "ge")
AHEAD = (1, 2, 4, 8)
AIMS = {1: 0.35, 4: 0.6}
Row = tuple[str, str, int, int, bool]  # (set, algorithm, images, images of the plain algorithm, whether its members are the plain one's)


def plainly(order: list[int], correct: Callable[[list[int]], int], accept: Accept) -> list[int]:
    """The members that the plain algorithm keeps."""
    members: list[int] = []
    best = -1
    for index in order:
        now = correct([*members, index])
        if now > best or (now == best and accept == "ge"):
            members, best = [*members, index], now
    return members


def matrix(seed: int) -> np.ndarray:
    """Latent margins [TRIALS, EXAMPLES]."""
    random = np.random.default_rng(seed)
    skill = random.uniform(1.5, 6.0) + 0.5 * random.normal(size=TRIALS)
    difficulty = 3.0 * random.normal(size=EXAMPLES)
    return skill[:, None] - difficulty + random.logistic(size=(TRIALS, EXAMPLES))


def compared(margins: np.ndarray, accept: Accept) -> Iterator[tuple[int, bool]]:
    """(images, whether the members are the plain algorithm's) for each number of candidates at once."""
    right, known, size = list(margins > 0), np.ones(EXAMPLES, bool), stage(EXAMPLES)
    order = sorted(range(TRIALS), key=lambda i: (-int(right[i].sum()), i))

    def of(members: list[int]) -> np.ndarray:
        found: np.ndarray = margins[members].mean(axis=0) > 0
        return found

    def attempt(members: list[int], best: Count | None, needed: int) -> Count:
        asked = visits(right, ~known, members[-1], best)
        batches = [asked[at : at + size] for at in range(0, EXAMPLES, size)]
        return tally(batches, (of(members)[batch] for batch in batches), known, needed)

    members = plainly(order, lambda members: int(of(members).sum()), accept)
    for parallel in AHEAD:
        found = search(order, lambda sets, best, needed: [attempt(each, best, needed) for each in sets], accept, parallel)
        yield sum(entry["images"] for entry in found.trace) + found.discarded, found.members == members


def seeded(count: int) -> Iterator[Row]:
    """All matrices together, a row for each rule and number of candidates at once."""
    for accept in ACCEPT:
        by_matrix = [list(compared(matrix(seed), accept)) for seed in range(count)]
        for parallel, found in zip(AHEAD, zip(*by_matrix, strict=True), strict=True):
            images, same = sum(images for images, _ in found), all(same for _, same in found)
            yield f"{count} matrices", f"{accept}, {parallel} at once", images, count * TRIALS * EXAMPLES, same


def recorded(folder: str) -> tuple[list[Any], list[Predictions], Any]:
    """The trials' models, their answers and the held-out data, from the store; computed first where they are missing."""
    store = Store(folder)
    store.prepare()
    nodes = Soup(trials=TRIALS).plan().nodes()
    found = next(node for node in nodes if node.fn is greedy).arguments
    plan = Plan({f"{name} {i}": node for name in ("models", "predictions") for i, node in enumerate(found[name])})
    assert [node.fn for node in (found["models"][0], found["predictions"][0])] == [train, predict]
    pins = Pins(store.place, digests_of).of(plan)
    place = Site(store.url, store.place.at("runs/benchmark"), store.place.at("cache"))
    finished = Runner(store, local.Local(store.place.at("runs/benchmark/backend.log")), place, pins, lambda *event, **facts: None).run(plan)
    if not finished.complete:
        raise SystemExit(f"not all trials were trained: {next(iter(finished.failures.values())).error}")
    return *([finished.value(node) for node in found[name]] for name in ("models", "predictions")), found["data"]  # type: ignore[return-value]


def real(folder: str) -> Iterator[Row]:
    """The recorded trials, every candidate built and evaluated."""
    models, predictions, data = recorded(folder)
    order, _ = ranked(models, predictions)
    with tempfile.TemporaryDirectory() as scratch:
        outputs(models[0], data, run=Local(scratch))  # the data is decoded, the module is built
        for accept in ACCEPT:
            begun, whole = time.perf_counter(), len(models) * len(predictions[0])

            def correct(members: list[int]) -> int:
                count: int = outputs(mean([models[i] for i in members]), data, run=Local(scratch)).summary()["correct"]
                return count

            members = plainly(order, correct, accept)
            yield "32 trials", f"{accept}, plain ({len(members)} members, {time.perf_counter() - begun:.1f} s)", whole, whole, True
            for parallel in AHEAD:
                run, begun = Local(scratch, parallel=parallel), time.perf_counter()
                facts = greedy(models, predictions, data, accept, run=run).facts
                seconds, shown = time.perf_counter() - begun, int(sum(values.get("images", 0) for _, values in run.history))
                assert shown == facts["images"] + run.history[-1][1]["discarded"] and facts["plain"] == whole
                yield "32 trials", f"{accept}, {parallel} at once ({seconds:.1f} s)", shown, whole, facts["members"] == members


def main() -> None:
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="", help="a store on this disk that keeps the trials; default a temporary one")
    parser.add_argument("--matrices", type=int, default=200)
    options = parser.parse_args()
    print("| candidates | algorithm | images | ratio | aim | members identical |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for rows in (real(options.store or folder), seeded(options.matrices)):
            for name, algorithm, images, whole, same in rows:
                aim = next((f"{aim}" for at, aim in AIMS.items() if f", {at} at once" in algorithm), "")
                print(f"| {name} | {algorithm} | {images:,} | {images / whole:.3f} | {aim} | {'yes' if same else 'NO'} |", flush=True)


if __name__ == "__main__":
    main()
