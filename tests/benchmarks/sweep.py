"""What Ray Tune and the store cost a sweep: K trials of about 20 s against the bare training loop, in one run.

    python -m tests.benchmarks.sweep [K] [STEPS]

The bare loop is `train` on a `Local` run in a process of its own, one thread, timed without its imports; it is run on every core at once, so that
both sides share the machine's memory alike. The sweep is timed from the Tuner's submission to the last record.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

BARE = """
import json, sys, tempfile, time
from components.models.heads import zero_shot
from components.models.openclip import OpenClip, pretrained
from components.objectives.classification import CrossEntropy
from components.train import train
from components.types import Local
from components.updates.sgd import AdamW
from pipelines.tasks import DIGITS
import torch
torch.set_num_threads(1)
run = Local(tempfile.mkdtemp())
base = zero_shot(pretrained(OpenClip(), run=run), DIGITS.classes, DIGITS.prompts, run=run)
def loop(steps):
    start = time.perf_counter()
    train(base, DIGITS.train, CrossEntropy(), update=AdamW(lr=1e-4, batch=32), steps=steps, run=run)
    return time.perf_counter() - start
loop(5)
print(json.dumps(loop(int(sys.argv[1]))))
"""


def bare(steps: int, cores: int) -> float:
    """Seconds of the bare loop, the mean over one process a core at the same time."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen([sys.executable, "-c", BARE, str(steps)], env=env, stdout=subprocess.PIPE, text=True) for _ in range(cores)]
    return sum(json.loads(process.communicate()[0]) for process in running) / cores


def sweep_seconds(trials: int, steps: int, folder: str) -> tuple[float, float]:
    """(seconds from submission to the last record, seconds until the workers were ready)."""
    from components.models.heads import zero_shot
    from components.models.openclip import OpenClip, pretrained
    from components.objectives.classification import CrossEntropy
    from components.train import train
    from components.updates.sgd import AdamW
    from infra.backends.cluster import Cluster
    from infra.dag import GPU, Plan, call, sweep
    from infra.job import Site
    from infra.runner import Runner
    from infra.store import Store
    from pipelines.tasks import DIGITS

    store = Store(folder)
    store.prepare()
    base = call(zero_shot, model=call(pretrained, model=OpenClip()), classes=DIGITS.classes, prompts=DIGITS.prompts)
    points = [{"update.seed": i} for i in range(trials)]
    tuned = sweep(train, on=GPU, over=points, init=base, data=DIGITS.train, objective=CrossEntropy(), update=AdamW(lr=1e-4, batch=32), steps=steps)
    times: dict[str, float] = {}

    def watch(event: str, node: Any, **facts: Any) -> None:
        if event in ("plan", "ready") or (event == "queued" and node.fn is train):
            times.setdefault(event, time.perf_counter())

    place = Site(store.url, f"{folder}/runs/bench", f"{folder}/cache")
    finished = Runner(store, Cluster(log=f"{folder}/ray.log"), place, {}, watch).run(Plan({str(i): node for i, node in enumerate(tuned)}))
    last = max(os.path.getmtime(f"{folder}/{finished.fingerprints.key(node)}/record.json") for node in tuned)
    return last - (time.time() - (time.perf_counter() - times["queued"])), times["ready"] - times["plan"]


def main() -> None:
    trials, steps = (int(word) for word in [*sys.argv[1:], *("16", "400")[len(sys.argv) - 1 :]])
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        before = bare(steps, cores)
        taken, ready = sweep_seconds(trials, steps, folder)
        after = bare(steps, cores)
    loop = (before + after) / 2
    print(f"bare loop, {cores} at once       {loop:8.1f} s a trial ({before:.1f} before, {after:.1f} after)")
    print(f"sweep of {trials} trials          {taken:8.1f} s from submission to the last record")
    print(f"ratio to K x loop / cores    {taken / (trials * loop / cores):8.3f}  (aim: at most 1.15)")
    print(f"start of Ray, beside it      {ready:8.1f} s")


if __name__ == "__main__":
    main()
