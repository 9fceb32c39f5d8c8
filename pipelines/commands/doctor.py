"""`stockpot doctor [STUDY [PRESET]]`: can a run work here? One line for each thing that it needs, with the remedy where it cannot.

`stockpot doctor TASK` looks at the task's data alone: layouts.py."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from infra import settings
from infra.dag import Plan
from infra.hygiene import datasets
from infra.secrets import redact
from infra.store import Store
from infra.store.listing import pages
from infra.store.pins import sources
from infra.store.place import is_local
from infra.store.preflight import INODES, Preflight
from infra.worker import source_root
from pipelines.commands.checks import Check, summed, told
from pipelines.commands.fields import near
from pipelines.commands.layouts import USAGE as LAYOUTS
from pipelines.commands.layouts import chosen as task_of
from pipelines.commands.layouts import examine, tasks
from pipelines.commands.models import scratch
from pipelines.commands.session import tracking_uri
from pipelines.commands.studies import Chosen, Options, parse, studies
from pipelines.commands.studies import chosen as study_of
from pipelines.commands.text import size

USAGE = "usage: stockpot doctor [STUDY [PRESET] [--field value ...]] [--store URL] [--tracking URI]"
USAGE += f"\n       {LAYOUTS}"
LOW = 2 << 30  # bytes of a disk that is nearly full
LONG = 60.0  # seconds for a cluster to answer
PACKAGES = ("torch", "open_clip_torch", "ray", "mlflow", "safetensors", "fsspec", "pillow", "numpy")


def main(argv: Sequence[str]) -> int:
    asked = chosen(argv)
    if asked.name in tasks():
        return examine(asked.study, asked.options)
    plan, options = asked.study.plan() if asked.study else None, asked.options
    store = Store(options.store or settings.default_store())
    checks: list[tuple[str, Check]] = [
        ("python", python), ("packages", packages), *store_checks(store), ("disk of the store", lambda: disk(store.url)),
        ("disk of the cache", lambda: disk(settings.cache_folder(), cached(plan, options))),
        ("ray", lambda: ray(options)), ("mlflow", lambda: tracking(options, store)),
        ("accelerators", accelerators),
    ]  # fmt: skip
    known: set[str] = set()
    codes = [told(name, check, known) for name, check in checks]
    if plan is not None:
        codes += data(plan)
    return summed(codes)


def chosen(argv: Sequence[str], options: type = Options) -> Chosen:
    """The study or the task that the first word names, or neither, and the options of the command."""
    if not argv or argv[0].startswith("-"):
        named = "".join(f"\n\n{what}: {', '.join(sorted(names))}" for what, names in (("studies", studies()), ("tasks", tasks())))
        return Chosen("", "", None, parse(argv, options, USAGE + named)[1])
    if argv[0] in tasks():
        return Chosen(argv[0], "", *task_of(argv))
    if argv[0] not in studies():
        raise ValueError(f"{argv[0]!r} is no study and no task{near(argv[0], [*studies(), *tasks()])}; stockpot doctor --help names both")
    return study_of(argv, "doctor", options)


def python() -> str:
    if sys.version_info < (3, 11):  # noqa: UP036 (a checkout runs under any Python)
        raise ValueError(f"Python {platform.python_version()}; stockpot needs 3.11 or newer")
    return f"Python {platform.python_version()}, {os.cpu_count()} CPUs"


def packages() -> str:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise ValueError(f"missing: {', '.join(missing)}; pip install {' '.join(missing)}")
    return ", ".join(found)


def store_checks(store: Store) -> list[tuple[str, Check]]:
    """What the preflight of a run finds, all of it; nothing more is asked of a store that is none of ours, or is away."""
    try:
        if store.place.read("store.json") is not None:
            store.prepare()
        found = Preflight(store.place).run()
    except Exception as error:  # told as a failed check
        return [("store", functools.partial(throw, error))]
    return [(f"store: {one.name}", functools.partial(throw, one.error) if one.error else functools.partial(str, one.told)) for one in found]


def throw(error: Exception) -> str:
    raise error


def disk(url: str, needed: int = 0) -> str:
    if not is_local(url):
        return f"{url} is not on this machine"
    folder = os.path.abspath(url)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free, files = shutil.disk_usage(folder).free, os.statvfs(folder)
    remedy = "free some, or choose another place (--store, STOCKPOT_CACHE)"
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f"{folder} cannot be written; change its permissions, or choose another place (--store, STOCKPOT_CACHE)")
    if files.f_files and files.f_favail < INODES:
        raise OSError(f"room for {files.f_favail} more files at {folder}; {remedy}")
    if free < LOW + needed:
        raise OSError(f"{size(free)} free at {folder}{f', and the data takes {size(needed)}' if needed else ''}; {remedy}")
    return f"{size(free)} free at {folder}{f' for {size(needed)} of data' if needed else ''}"


def cached(plan: Plan | None, options: Options) -> int:
    """The bytes of a plan's remote data that the node's cache will hold."""
    urls = dict.fromkeys(url for node in (plan.nodes() if plan else ()) for url in sources(list(node.arguments.values())) if not is_local(url))
    total = sum(facts[1] for url in urls for page in pages(url) for facts in page)
    return min(total, options.cache_limit)


def ray(options: Options) -> str:
    if options.ray == "none":
        return "not wanted (--ray none)"
    if importlib.util.find_spec("ray") is None:
        raise ValueError("Ray is not installed; pip install 'ray[default,train,tune]', or run with --ray none")
    if options.ray == "local":
        return f"Ray {importlib.metadata.version('ray')} is installed; a local one is started by a run"
    words = [sys.executable, "-m", "infra.backends.cluster.check", options.ray]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=LONG, cwd=source_root())
    except subprocess.TimeoutExpired:
        raise OSError(f"the cluster at {options.ray} did not answer in {LONG:.0f} s; check --ray, and that its nodes are up") from None
    line = (done.stdout.strip().splitlines() or ["Ray ended without a word"])[-1]
    if done.returncode:
        raise OSError(line)
    return line


def tracking(options: Options, store: Store) -> str:
    uri = tracking_uri(options, store)
    if not uri:
        return "off: the runs' journals alone are kept"
    if uri.startswith("sqlite:"):
        return f"{uri}, made on the first run"
    if uri.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=5) as answer:
                there, here = answer.read(99).decode(errors="replace").strip(), importlib.metadata.version("mlflow")
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                return f"{redact(uri)} answers, and tells its version to users alone"
            raise OSError(f"{redact(uri)} is no MLflow ({error}); check --tracking") from None
        if there.split(".")[:2] != here.split(".")[:2]:
            raise ValueError(f"{redact(uri)} is MLflow {there}, the client here is {here}; pip install mlflow=={there}, or upgrade the server")
        return f"{redact(uri)} is MLflow {there}, which matches {here} here"
    return f"{redact(uri)}, not asked"


def accelerators() -> str:
    from components.models.heads import accelerator

    return "CUDA" if accelerator() == "cuda" else "none; stages that like a GPU run on CPUs"


def data(plan: Plan) -> list[int]:
    """Open every dataset of a plan."""
    found: dict[str, Any] = {}
    for node in plan.nodes():
        for value in node.arguments.values():
            found.update((repr(dataset), dataset) for _, dataset in datasets(value, ""))
    known: set[str] = set()
    return [told("data", functools.partial(opened, dataset), known) for dataset in found.values()]


def opened(dataset: Any) -> str:
    with scratch() as run:
        examples = dataset.open(run)
    unread = f", {len(examples.skipped)} unreadable, first {examples.skipped[0]}" if examples.skipped else ""
    shown = repr(dataset)
    return f"{len(examples)} examples, {len(examples.classes)} classes{unread}: {shown if len(shown) <= 90 else shown[:87] + '...'}"
