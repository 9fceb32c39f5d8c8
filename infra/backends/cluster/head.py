"""The process that talks to Ray: it turns jobs into tasks and sweeps into Tuners, and sends back how each ended."""

from __future__ import annotations

import logging
import signal
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from infra import settings, source
from infra.attempts import CRASHES
from infra.backends.cluster.loss import lost, ready_to_leave
from infra.backends.cluster.searched import run_search
from infra.backends.cluster.sweep import run_sweep
from infra.errors import Maps
from infra.job import Job, Outcome
from infra.node import Resources
from infra.worker import execute, failed, source_root

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",  # a dead head is noticed in seconds, not in a minute
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
MAPPING = 4  # jobs that map at once, or one for as many CPUs where these are more
MOST = 8  # items that a component should have under way: what it tries ahead may turn out to be in vain
PATIENCE = 60.0  # seconds in which items end that are in vain
WAIT = 0.02  # seconds between two looks at the pipe and the tasks


def needs(on: Resources, have: Mapping[str, float]) -> dict[str, float]:
    """Ray's resources for a node: an inexact accelerator falls back to CPUs where there is none."""
    if on.gpus and not have.get("GPU") and not on.exact:
        return {"num_cpus": on.cpus, "num_gpus": 0}
    return {"num_cpus": on.cpus, "num_gpus": on.gpus}


def at_once(options: Mapping[str, float], have: Mapping[str, float]) -> int:
    """How many tasks with these resources the cluster can run at the same time, from 1 to MOST."""
    fit = [have.get(name, 0.0) / wanted for name, wanted in (("CPU", options["num_cpus"]), ("GPU", options["num_gpus"])) if wanted]
    return int(max(1, min([MOST, *fit])))


def reach(address: str) -> None:
    """Raises ConnectionError where nothing listens at `[ray://]host:port`: Ray itself would try for ever."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), 10).close()
        except OSError as error:
            raise ConnectionError(f"no Ray answers at {address} ({error.strerror or error}); check --ray") from None


def spread(options: Mapping[str, float]) -> Callable[[Callable[..., Any], Sequence[Mapping[str, Any]]], list[Any]]:
    """`run.map` on Ray: one task an item, with the node's resources. What an item raises is raised here, once no other is at work any more."""
    import ray
    from ray.exceptions import RayTaskError

    def map(fn: Callable[..., Any], items: Sequence[Mapping[str, Any]]) -> list[Any]:
        remote = ray.remote(fn).options(max_retries=CRASHES, **options)
        under_way = [remote.remote(**item) for item in items]
        try:
            found: list[Any] = ray.get(under_way)
        except Exception as error:
            for each in under_way:
                ray.cancel(each)
            ray.wait(under_way, num_returns=len(under_way), timeout=PATIENCE)
            if isinstance(error, RayTaskError) and isinstance(error.cause, Exception):
                raise error.cause from None
            raise
        return found

    return map


def held(fn: Callable[..., Any], items: Sequence[Mapping[str, Any]]) -> list[Any]:
    """`run.map` of a task that holds what its items need."""
    raise Maps


def task(job: Job, options: Mapping[str, float], parallel: int, mapping: bool) -> Outcome:
    ready_to_leave()
    if not getattr(job.fn, "__maps__", ""):
        return execute(job)
    return execute(job, spread(options) if mapping else held, parallel)


class Head:
    """One connection to Ray, for the life of the driver."""

    def __init__(self, pipe: Connection, options: Mapping[str, Any]) -> None:
        self.pipe, self.options = pipe, options
        self.running: dict[Any, Job] = {}
        self.mapping: set[Any] = set()  # of these, the ones that map: they hold nothing, and only their number bounds their processes
        self.waiting: deque[Job] = deque()  # to map once fewer do
        self._lock = threading.Lock()

    def send(self, kind: str, value: Any) -> None:
        with self._lock:
            self.pipe.send((kind, value))

    def start(self) -> None:
        settings.for_children(source_root(), **QUIET)
        import ray

        local = self.options["address"] == "local"
        if local:  # workers inherit this process's environment; a runtime_env would cost each of them a start of its own
            sizes = {"num_cpus": self.options["cpus"], "object_store_memory": 256 << 20, "include_dashboard": False}
        else:
            reach(self.options["address"])
            sizes = {"runtime_env": {"env_vars": {"OMP_WAIT_POLICY": "passive", "PYTHONPATH": settings.python_path(), **source.wanted()}}}
        ray.init(address=self.options["address"], namespace="stockpot", log_to_driver=False, logging_level=logging.ERROR, **sizes)
        if not local:  # whoever stops a job signals all of its processes; this one ends when the driver says so, after states were saved
            signal.signal(signal.SIGTERM, lambda *_: None)
        self.have: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self.remote = ray.remote(max_retries=0)(task)
        self.send("ready", {"cpus": self.have.get("CPU", 0), "gpus": self.have.get("GPU", 0), "address": self.options["address"]})

    def serve(self) -> None:
        """Until the driver says stop or is gone."""
        import ray

        self.start()
        try:
            while self._receive(0 if self.running else WAIT):
                self._collect()
        except (EOFError, OSError):
            pass
        finally:
            ray.shutdown()

    def _receive(self, timeout: float) -> bool:
        while self.pipe.poll(timeout):
            message = self.pipe.recv()
            if message[0] == "stop":
                return False
            if message[0] == "job":
                self._submit(message[1])
            else:
                self._sweep(message[1], message[2])
            timeout = 0
        return True

    def _submit(self, job: Job) -> None:
        if refusal := self._refuses(job):
            self.send("outcome", refusal)
        elif job.search:
            arguments = (job, needs(job.on, self.have), lambda outcome: self.send("outcome", outcome))
            threading.Thread(target=run_search, args=arguments, name="search", daemon=True).start()
        elif getattr(job.fn, "__maps__", "") == "always":
            self._map(job)
        else:
            self._begin(job, needs(job.on, self.have), mapping=False)

    def _map(self, *jobs: Job) -> None:
        """Begin these and those that wait, as far as their number allows."""
        self.waiting.extend(jobs)
        while self.waiting and len(self.mapping) < max(MAPPING, int(self.have.get("CPU", 0)) // MAPPING):
            self.mapping.add(self._begin(self.waiting.popleft(), {"num_cpus": 0, "num_gpus": 0}, mapping=True))

    def _begin(self, job: Job, own: Mapping[str, float], mapping: bool) -> Any:
        options = needs(job.on, self.have)
        reference = self.remote.options(name=job.key, **own).remote(job, options, at_once(options, self.have), mapping)
        self.running[reference] = job
        return reference

    def _refuses(self, job: Job) -> Outcome | None:
        for name, wanted in (("CPU", job.on.cpus), ("GPU", job.on.gpus if job.on.exact else 0)):
            if wanted > self.have.get(name, 0) and self.options["address"] == "local":
                error = f"{job.title} needs {wanted:g} {name}, this machine has {self.have.get(name, 0):g}; ask for less or give --ray ADDRESS"
                return Outcome(job.key, "failed", error, "Resources", 2)
        return None

    def _sweep(self, jobs: Sequence[Job], pack: int) -> None:
        refused = [(job, self._refuses(job)) for job in jobs]
        for _, refusal in refused:
            if refusal:
                self.send("outcome", refusal)
        fit = [job for job, refusal in refused if not refusal]
        if fit:
            folder = tempfile.mkdtemp(prefix="stockpot-tune-")
            arguments = (fit, pack, needs(fit[0].on, self.have), folder, lambda outcome: self.send("outcome", outcome))
            threading.Thread(target=run_sweep, args=arguments, name="tuner", daemon=True).start()

    def _collect(self) -> None:
        import ray
        from ray.exceptions import RayError, RayTaskError

        if not self.running:
            return
        done, _ = ray.wait(list(self.running), timeout=WAIT)
        for reference in done:
            job = self.running.pop(reference)
            self.mapping.discard(reference)
            try:
                outcome = ray.get(reference)
                if outcome.state == "maps":
                    self.waiting.append(job)
                else:
                    self.send("outcome", outcome)
            except RayTaskError as error:  # not of the component: the job could not be read there, or its outcome not here
                self.send("outcome", failed(job, error.cause if isinstance(error.cause, Exception) else error, 0.0))
            except RayError as error:
                self.send("outcome", lost(job, error))
        self._map()
