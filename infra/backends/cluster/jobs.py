"""Ray's jobs, as far as they are runs of ours: sent, listed, watched and stopped over HTTP, from a machine that is no part of the cluster.

A job is one run of one plan. Its id is the study, the plan's digest and a number that grows: Ray takes no id twice, so of two who submit the same
plan at the same moment one wins, and the other meets the winner.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from infra import settings, source
from infra.errors import INFRASTRUCTURE, OK, PARTIAL, exit_code_of
from infra.secrets import redact, refuse

GRACE = 120  # seconds between SIGTERM and SIGKILL when a job is stopped: states are saved, the store and MLflow told; Ray itself would give 3
CONNECT, ANSWER = 10.0, 60.0  # seconds for the job server to be reached, and to answer
PATIENCE = 60.0  # seconds for which a server that is away is asked again by who follows a job
SILENCE = 120.0  # seconds without a line, after which a connection is made anew: one that is dead says nothing either
POLL = 1.0
TRIES = 5  # ids that others take meanwhile
ENDED = ("done", "in part", "failed", "stopped")
NAMES = {"PENDING": "pending", "RUNNING": "running", "STOPPED": "stopped", "SUCCEEDED": "done", "FAILED": "failed"}
ADVICE = "is the cluster up, and the way there open (ray dashboard, kubectl port-forward)? check --address"


@dataclass(frozen=True)
class Submission:
    """A run as the cluster knows it: `state` is pending, running, done, in part, failed or stopped; times in seconds since 1970."""

    id: str
    state: str
    facts: Mapping[str, str] = field(default_factory=dict)  # as they were submitted: study, preset, store, plan, source, command
    started: float = 0.0
    ended: float = 0.0
    exit_code: int | None = None
    message: str = ""
    words: str = ""  # what runs

    @property
    def plan(self) -> str:
        """The id without its number."""
        return self.id.rpartition("-")[0]

    @property
    def over(self) -> bool:
        return self.state in ENDED

    @property
    def code(self) -> int:
        """The exit code of the run inside, or 4 where it had none: it was stopped, or its process was lost or killed."""
        return OK if self.state == "done" else self.exit_code if self.exit_code and self.exit_code > 0 else INFRASTRUCTURE


def short(error: BaseException) -> str:
    """The system's own words for why a request failed, out of all that a client wraps around them."""
    inner: BaseException | None = error
    while inner is not None and not (isinstance(inner, OSError) and inner.strerror):
        inner = inner.__cause__ or inner.__context__
    found = inner.strerror if isinstance(inner, OSError) else ""
    return found or (str(error).strip() or type(error).__name__).splitlines()[0]


def seen(details: Any) -> Submission:
    """Ray's facts of a job as ours."""
    state, code = NAMES[str(details.status)], details.driver_exit_code
    facts = {name.removeprefix("stockpot_"): value for name, value in (details.metadata or {}).items() if name.startswith("stockpot_")}
    times = ((details.start_time or 0) / 1000, (details.end_time or 0) / 1000)
    state = "in part" if state == "failed" and code == PARTIAL else state
    return Submission(details.submission_id or "", state, facts, *times, code, details.message or "", details.entrypoint)


def address_of(given: str) -> str:
    """The URL of the job server that was named, or that the environment names. ValueError where it is none."""
    found = refuse(given or settings.default_cluster())
    if not found:
        raise ValueError("which cluster? give --address http://HOST:8265, the address of its dashboard, or set RAY_ADDRESS")
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"--address {found}: jobs are sent to the cluster's dashboard; give its URL, like http://127.0.0.1:8265")
    return found.rstrip("/")


class Jobs:
    """The runs on one cluster. Raises OSError (exit 4) where its job server cannot be reached, ValueError where it will not let us in."""

    def __init__(self, address: str = "") -> None:
        self.address = address_of(address)
        parts = urlsplit(self.address)
        try:
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
            socket.create_connection((parts.hostname or "", port), CONNECT).close()
        except OSError as error:
            raise ConnectionError(f"no cluster answers at {self.address} ({error.strerror or error}); {ADVICE}") from None
        settings.use_cluster(self.address)
        with self._told():
            self._client = client(self.address)
        self._same_ray()

    def _same_ray(self) -> None:
        import ray

        if (theirs := self._client._server_ray_version) != ray.__version__:
            raise ValueError(f"the cluster at {self.address} runs Ray {theirs}, this machine {ray.__version__}: pip install 'ray[default]=={theirs}'")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of Ray's client as one line."""
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            wants = "refuses this token" if "403" in str(error) or "Invalid" in str(error) else "wants a token"
            remedy = "export RAY_AUTH_MODE=token, with the cluster's token in ~/.ray/auth_token or RAY_AUTH_TOKEN_PATH"
            missing = f"; {file} is not there" if (file := settings.token_file()) and not os.path.isfile(file) else ""
            raise ValueError(f"the cluster at {self.address} {wants}: {remedy}{missing}") from None
        except OSError as error:
            raise ConnectionError(f"the job server at {self.address} does not answer ({redact(short(error))}); {ADVICE}") from None
        except RuntimeError as error:
            lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            told = lines[-1] if "Traceback" in str(error) else lines[0]
            raise ConnectionError(f"the job server at {self.address} failed ({redact(told)}); {ADVICE}") from None

    def all(self) -> list[Submission]:
        """All runs of ours that this cluster remembers, the oldest first."""
        with self._told():
            found = [seen(details) for details in self._client.list_jobs() if "stockpot_plan" in (details.metadata or {})]
        return sorted(found, key=lambda one: one.started)

    def strangers(self) -> list[str]:
        """The ids of the jobs that are not ours."""
        with self._told():
            return [one.submission_id for one in self._client.list_jobs() if one.submission_id and "stockpot_plan" not in (one.metadata or {})]

    def get(self, id: str) -> Submission:
        with self._told():
            return seen(self._client.get_job_info(id))

    def submit(self, words: Sequence[str], facts: Mapping[str, str]) -> tuple[Submission, bool]:
        """Run `stockpot` with these words; or, where a run of this plan is under way, that one. (the run, whether it is new)

        facts: study, plan and what else is to be told; they and the words are read by everybody who may ask the cluster.
        """
        plan = f"{facts['study']}-{facts['plan']}"
        with tempfile.TemporaryDirectory(prefix="stockpot-") as folder:
            package = source.wheel(folder)
            for _ in range(TRIES):
                earlier = [one for one in self.all() if one.plan == plan]
                if earlier and not earlier[-1].over:
                    return earlier[-1], False
                number = 1 + max([int(one.id.rpartition("-")[2]) for one in earlier], default=0)
                if self._sent(f"{plan}-{number}", package, words, facts):
                    return self.get(f"{plan}-{number}"), True
                time.sleep(POLL)
        raise ValueError(f"{plan}-{number} is taken by a job that is none of stockpot's: remove it, ray job delete {plan}-{number}")

    def _sent(self, id: str, package: str, words: Sequence[str], facts: Mapping[str, str]) -> bool:
        """Whether this id was not taken yet."""
        with self._told():
            try:
                self._client.submit_job(
                    entrypoint=f"exec python -P -m pipelines {shlex.join(words)}",  # -P: not what lies in the folder where it happens to run
                    submission_id=id,
                    runtime_env={
                        "py_modules": [package],
                        "env_vars": {"STOCKPOT_SOURCE": source.digest(), "RAY_JOB_STOP_WAIT_TIME_S": str(GRACE)},
                    },
                    metadata={f"stockpot_{name}": value for name, value in {**facts, "source": source.digest()}.items()},
                )
            except RuntimeError as error:
                if "already exists" in str(error):
                    return False
                raise
        return True

    def stop(self, id: str) -> bool:
        """Ask a run to save its states and end; whether it was under way. It takes up to GRACE seconds."""
        with self._told():
            return bool(self._client.stop_job(id))

    def log(self, id: str) -> str:
        """What a run has printed so far."""
        with self._told():
            return str(self._client.get_job_logs(id))

    def follow(self, id: str) -> Iterator[str]:
        """What a run prints, from its first line and as it comes, until it has ended; a connection that is cut is made again."""
        printed = 0
        while True:
            passed, cut = 0, False
            try:
                for text in self._tail(id):
                    if fresh := text[max(0, printed - passed) :]:
                        yield fresh
                    passed += len(text)
                    printed = max(printed, passed)
            except Exception as error:
                cut = exit_code_of(error) == INFRASTRUCTURE or isinstance(error, RuntimeError)
                if not cut:
                    raise
            if self.patiently(id).over:
                if cut:
                    yield self.log(id)[printed:]
                return
            time.sleep(POLL)

    def _tail(self, id: str) -> Iterator[str]:
        texts = self._client.tail_job_logs(id)

        async def following() -> str:
            return str(await asyncio.wait_for(anext(texts), SILENCE))

        with asyncio.Runner() as runner, contextlib.suppress(StopAsyncIteration):
            while True:
                yield runner.run(following())

    def patiently(self, id: str) -> Submission:
        """As `get`, over a short absence of the server."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return self.get(id)
            except OSError:
                if time.monotonic() > until:
                    raise
            time.sleep(POLL)

    def ended(self, id: str) -> Submission:
        """The run once it has ended."""
        while not (found := self.patiently(id)).over:
            time.sleep(POLL)
        return found


def client(address: str) -> Any:
    """Ray's client, whose requests end: its own would wait for ever where a server says nothing."""
    from ray.job_submission import JobSubmissionClient

    for name in ("job.sdk", "dashboard_sdk"):  # which tell of each package and of each connection
        logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.ERROR)

    class Client(JobSubmissionClient):
        def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": ANSWER, **more})

    return Client(address)
