"""A command that runs toys on a cluster: `python -m tests.cluster.study STORE ADDRESS FOLDER EVERY PLAN`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from infra import settings
from infra.backends.cluster import Cluster
from infra.dag import ASHA, Optuna, Plan, grid, search, sweep
from infra.job import Site
from infra.runner import Runner
from infra.space import Uniform
from infra.store import Store
from tests.cluster.toys import climbs, steps


def plan(trials: int = 0, to: int = 10, pause: float = 0.1, searched: int = 0) -> Plan:
    if searched:
        space: dict[str, Any] = {"over": {"slope": Uniform(0.0, 1.0)}, "n": searched, "scheduler": ASHA(to, 2, 2), "searcher": Optuna(1)}
        return Plan({"search": search(climbs, **space, monitor=1, to=to, pause=pause)})
    return Plan({str(i): trial for i, trial in enumerate(sweep(steps, over=grid({"index": list(range(trials))}), to=to, pause=pause))})


def main(url: str, address: str, folder: str, every: str, asked: str) -> int:
    settings.configure()
    store = Store(url)
    store.prepare()
    place = Site(store.url, store.place.at(f"runs/{time.time_ns()}"), "", checkpoint_every=float(every))
    finished = Runner(store, Cluster(address, log=f"{folder}/log"), place, {}, lambda *_, **__: None).run(plan(**json.loads(asked)))
    for failure in finished.failures.values():
        print(failure.key, failure.error, failure.traceback, flush=True)
    return finished.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
