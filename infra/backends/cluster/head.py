"""The process that talks to Ray: it turns jobs into tasks and sweeps into Tuners, and sends back how each ended."""

from __future__ import annotations

import logging
import signal
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from infra import settings, source
from infra.attempts import CRASHES
from infra.backends.cluster.loss import lost, ready_to_leave
from infra.backends.cluster.resources import Capacity, at_once, needs
from infra.backends.cluster.searched import run_search
from infra.backends.cluster.sweep import run_sweep
from infra.errors import Maps, Unreached
from infra.job import Job, Outcome
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
PATIENCE = 60.0  # seconds in which items end that are in vain
LOOK = 5.0  # seconds between two looks at the machines
WAIT = 0.02  # seconds between two looks at the pipe and the tasks


def reach(address: str) -> None:
    """Raises ConnectionError where nothing listens at `[ray://]host:port`: Ray itself would try for ever."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), 10).close()
        except OSError as error:
            raise Unreached(f"no Ray answers at {address} ({error.strerror or error}); check --ray") from None


def reason(error: Exception) -> str:
    """Why a cluster cannot be joined, in a line; Ray tells unlike versions in several, and in an exception of any class."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "mismatch" not in str(error).lower():
        token = "its token is wanted here (RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH, the file)"
        return f"{lines[0]}; check --ray, and whether {token}" if lines[0].startswith("Failed to connect") else lines[0]
    return f"{' '.join(lines[:6])}; give it the Ray and the Python of this machine, or the other way round"


def spread(options: Mapping[str, Any]) -> Callable[[Callable[..., Any], Sequence[Mapping[str, Any]]], list[Any]]:
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


def task(job: Job, options: Mapping[str, Any], parallel: int, mapping: bool) -> Outcome:
    ready_to_leave()
    if job.on.workers > 1:
        from infra.backends.cluster.group import together

        return together(job)
    if not getattr(job.fn, "__maps__", ""):
        return execute(job)
    return execute(job, spread(options) if mapping else held, parallel)


class Head:
    """One connection to Ray, for the life of the driver."""

    def __init__(self, pipe: Connection, options: Mapping[str, Any]) -> None:
        self.pipe, self.options = pipe, options
        self.running: dict[Any, Job] = {}
        self.light: dict[bool, set[Any]] = {False: set(), True: set()}  # of these, the ones that map, and that drive workers: they hold nothing
        self.waiting: dict[bool, deque[Job]] = {False: deque(), True: deque()}  # for fewer of these: only their number bounds their processes
        self.early: list[Any] = []  # what came before there was any machine to work
        self.open: dict[str, Job] = {}  # handed over by the driver, and not ended
        self.told: set[str] = set()  # what is waited for, as it was last told
        self.looked = 0.0
        self._lock = threading.Lock()

    def send(self, kind: str, value: Any) -> None:
        with self._lock:
            if kind == "outcome":
                self.open.pop(value.key, None)
            self.pipe.send((kind, value))

    def start(self) -> None:
        settings.for_children(source_root(), **QUIET)
        import ray

        local = self.options["address"] == "local"
        if local:  # workers inherit this process's environment; a runtime_env would cost each of them a start of its own
            sizes = {"num_cpus": self.options["cpus"], "object_store_memory": 256 << 20, "include_dashboard": False}
        else:
            reach(self.options["address"])
            settings.forget_dashboard()
            sizes = {"runtime_env": {"env_vars": {"OMP_WAIT_POLICY": "passive", "PYTHONPATH": settings.python_path(), **source.wanted()}}}
        try:
            ray.init(address=self.options["address"], namespace="stockpot", log_to_driver=False, logging_level=logging.ERROR, **sizes)
        except Exception as error:
            raise Unreached(reason(error)) from error
        if not local:  # whoever stops a job signals all of its processes; this one ends when the driver says so, after states were saved
            signal.signal(signal.SIGTERM, lambda *_: None)
        self.capacity = Capacity(local)
        self.capacity.explore()
        self.looked = time.monotonic()
        self.remote = ray.remote(max_retries=0)(task)
        self.send("ready", {**self.capacity.facts(), "address": self.options["address"]})

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
            self._take(message)
            timeout = 0
        if time.monotonic() - self.looked > LOOK:
            self._look()
        return True

    def _take(self, message: Any) -> None:
        if self.capacity.empty:
            self.early.append(message)
        elif message[0] == "job":
            self._submit(*self._fit([message[1]]))
        elif jobs := self._fit(message[1]):
            self._sweep(jobs, message[2])

    def _look(self) -> None:
        """See which machines have come or gone, and tell what is waited for."""
        self.capacity.look()
        self.looked = time.monotonic()
        if not self.capacity.empty:
            early, self.early = self.early, []
            for message in early:
                self._take(message)
        with self._lock:
            jobs = list(self.open.values())
        self.told &= {reason for on in {job.on for job in jobs} if (reason := self.capacity.pending(on))}  # what is waited for anew is told anew
        self._tell(jobs)
        self.send("capacity", self.capacity.facts())

    def _tell(self, jobs: Sequence[Job]) -> None:
        """What of the cluster these wait for, where it was not told yet."""
        reasons = {on: self.capacity.pending(on) for on in {job.on for job in jobs}}
        for job in jobs:
            if (reason := reasons[job.on]) and reason not in self.told:
                self.told.add(reason)
                self.send("pending", f"{job.title} {reason}")

    def _fit(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs with the resources that they get here; those that can never run are refused."""
        settled = [replace(job, on=self.capacity.settled(job.on)) for job in jobs]
        reasons = {on: self.capacity.refusal(on) for on in {job.on for job in settled}}
        for job in settled:
            if reason := reasons[job.on]:
                self.send("outcome", Outcome(job.key, "failed", f"{job.title} {reason}", "Resources", 2))
            else:
                self.open[job.key] = job
        fit = [job for job in settled if not reasons[job.on]]
        self._tell(fit)
        return fit

    def _submit(self, *jobs: Job) -> None:
        for job in jobs:
            if job.search:
                arguments = (job, self.capacity.groups(job.on), lambda outcome: self.send("outcome", outcome))
                threading.Thread(target=run_search, args=arguments, name="search", daemon=True).start()
            elif getattr(job.fn, "__maps__", "") == "always" or job.on.workers > 1:
                self._map(job)
            else:
                self._begin(job, needs(job.on), mapping=False)

    def _map(self, *jobs: Job) -> None:
        """Begin these and those that wait, as far as their number allows."""
        for job in jobs:
            self.waiting[job.on.workers > 1].append(job)
        for drives, waiting in self.waiting.items():
            while waiting and len(self.light[drives]) < self._most(waiting[0]):
                self.light[drives].add(self._begin(waiting.popleft(), {"num_cpus": 0, "num_gpus": 0}, mapping=True))

    def _most(self, job: Job) -> int:
        return self.capacity.groups(job.on) or max(MAPPING, int(self.capacity.reach.get("CPU", 0)) // MAPPING)

    def _begin(self, job: Job, own: Mapping[str, Any], mapping: bool) -> Any:
        options = needs(job.on)
        reference = self.remote.options(name=job.key, **own).remote(job, options, at_once(options, self.capacity.reach), mapping)
        self.running[reference] = job
        return reference

    def _sweep(self, jobs: Sequence[Job], pack: int) -> None:
        folder = tempfile.mkdtemp(prefix="stockpot-tune-")
        arguments = (jobs, pack, self.capacity.groups(jobs[0].on), folder, lambda outcome: self.send("outcome", outcome))
        threading.Thread(target=run_sweep, args=arguments, name="tuner", daemon=True).start()

    def _collect(self) -> None:
        import ray
        from ray.exceptions import RayError, RayTaskError

        if not self.running:
            return
        done, _ = ray.wait(list(self.running), timeout=WAIT)
        for reference in done:
            job = self.running.pop(reference)
            for light in self.light.values():
                light.discard(reference)
            try:
                outcome = ray.get(reference)
                if outcome.state == "maps":
                    self.waiting[False].append(job)
                else:
                    self.send("outcome", outcome)
            except RayTaskError as error:  # not of the component: the job could not be read there, or its outcome not here
                self.send("outcome", failed(job, error.cause if isinstance(error.cause, Exception) else error, 0.0))
            except RayError as error:
                self.send("outcome", lost(job, error))
        self._map()
