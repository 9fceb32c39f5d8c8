"""A worker executes one job: inputs from the store, the component, its payload to the store, the record last."""

from __future__ import annotations

import contextlib
import inspect
import os
import platform
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from infra import notice, settings, source
from infra.courier import told_to_stop
from infra.errors import BUG, INFRASTRUCTURE, INTEGRITY, Away, IntegrityError, Left, Maps, Refused, Stopped, StoreError, exit_code_of
from infra.identity import digest, name_of, revision_of
from infra.job import Job, Outcome, Ref, referred
from infra.owned import scratch
from infra.run import Judge, Map, WorkerRun, in_order
from infra.secrets import redact
from infra.store import Record, Store
from infra.store.payload import damaged, first_unlike
from infra.store.record import encode
from infra.store.tries import retried
from infra.tracking.journal import Journal

LEFT = 143  # the exit code of a worker that was given notice, as of one that SIGTERM ended


def opened(store: Store, keys: Sequence[str]) -> dict[str, Any]:
    """{key: what the store holds for it}; of a remote store all at once, small files checked."""
    store.fetch(keys)
    store.check(map(store.finished, keys))
    return dict(zip(keys, store.place.each(lambda key: store.open(store.finished(key)), keys), strict=True))


def resolve(value: Any, values: Mapping[str, Any]) -> Any:
    """The argument with every `Ref` replaced by its value."""
    if isinstance(value, Ref):
        return values[value.key]
    if isinstance(value, list | tuple):
        return type(value)(resolve(item, values) for item in value)
    if isinstance(value, Mapping):
        return {key: resolve(item, values) for key, item in value.items()}
    return value


def environment() -> dict[str, str]:
    """What a record says of the place it was made; torch is named only where it was used."""
    versions = {name: getattr(sys.modules[name], "__version__", "") for name in ("torch", "open_clip", "numpy") if name in sys.modules}
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    return found | {name: str(version) for name, version in versions.items()}


def compute(job: Job, store: Store, run: WorkerRun, map: Map, started: float) -> Record:
    """Call the component and write its payload; the record is returned, not yet published."""
    inputs = list(dict.fromkeys(referred(job.arguments)))
    values = opened(store, inputs)
    arguments = {name: resolve(value, values) for name, value in job.arguments.items()}
    if takes_run(job.fn):
        arguments["run"] = run
    value = job.fn(**arguments)
    run.rest()
    job = ended(job, run)
    result: dict[str, Any]
    if hasattr(value, "save"):
        attempt, files = saved(value, job, store, map)
        result = {"type": name_of(type(value)), "attempt": attempt, "files": files}
    else:
        result = {"value": encode(value, job.title)}
    summary = encode(value.summary(), job.title) if hasattr(value, "summary") else {}
    summary |= {name: what for name, what in (("looks", encode(run.looks)), ("stopped", run.stopped)) if what}
    return Record(
        key=job.key, function=name_of(job.fn), fingerprint=job.fingerprint, revision=revision_of(job.fn), arguments=job.canonical,
        inputs={key: store.finished(key).digest for key in inputs}, result=result, summary=summary, data=job.data, members=job.members,
        environment=environment(), host=socket.gethostname(), started=started, seconds=round(time.time() - started, 3), attempts=job.attempt,
    )  # fmt: skip


def ended(job: Job, run: WorkerRun) -> Job:
    """The job, where it was not stopped early; what a stopped trial gives is the result of another call, of which the step is an argument."""
    if not run.stopped:
        return job
    canonical = {**job.canonical, "stopped": run.stopped}
    fingerprint = digest([job.fn.__name__, revision_of(job.fn), canonical])
    return replace(job, key=f"{job.fn.__name__}-{fingerprint}", fingerprint=fingerprint, canonical=canonical)


def recalled(store: Store, key: str, judge: Judge | None) -> bool:
    """Whether a job has a record; a judge hears what its monitor saw, and one of which that is not known is computed again."""
    if not store.has(key):
        return False
    if judge is None:
        return True
    looks = store.finished(key).summary.get("looks", ())
    for step, value in looks:
        judge(step, value)
    return bool(looks)


def saved(value: Any, job: Job, store: Store, map: Map) -> tuple[str, list[dict[str, Any]]]:
    """(attempt, files) of the payload in the store. What was sent to a remote one is read back before it counts.

    Raises IntegrityError with the name of a file that came back unlike twice.
    """
    reason = ""
    for _ in range(2):
        attempt, url = store.attempt(job.key)
        files = [{"name": file.name, "size": file.size, "digest": file.digest} for file in value.save(url, map)]
        if store.place.local or job.place.digest is None:
            return attempt, files
        reason = first_unlike(store, f"{job.key}/attempts/{attempt}", files, job.place.digest)
        if not reason:
            return attempt, files
    raise IntegrityError(f"{reason}, after it was written a second time; check the store and the way there: stockpot doctor")


def execute(job: Job, map: Map = in_order, parallel: int = 1, judge: Judge | None = None) -> Outcome:
    """Run a job to its record, its `run.map` on `parallel` items at once; a `judge` may stop it early.

    Every exception of the component becomes an outcome; only the death of the process does not, and one that was given notice leaves.
    """
    settings.configure(worker=True)
    if notice.given():
        os._exit(LEFT)
    before, outcome = retried(), _execute(job, map, parallel, judge)
    return replace(outcome, retried=dict(retried() - before))


def _execute(job: Job, map: Map, parallel: int, judge: Judge | None) -> Outcome:
    started, recorded = time.time(), ""
    writer = f"{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}"
    try:
        source.agree()
        store = Store(job.place.store)
        if recalled(store, job.key, judge):
            return Outcome(job.key, "done")
        if told_to_stop(job.place.folder):
            return Outcome(job.key, "stopped", "the run was stopped")
        with scratch() as folder, contextlib.closing(Journal(job.place.folder, writer)) as journal:
            journal.write("running", fingerprint=job.fingerprint, key=job.key, pid=os.getpid(), host=socket.gethostname(), attempt=job.attempt)
            with contextlib.closing(WorkerRun(job, store, journal, folder, map, parallel, judge)) as run:
                store.publish(record := compute(job, store, run, map, started))
                recorded = record.key if run.stopped else ""
                with contextlib.suppress(StoreError):  # the node is done; states that stay are garbage
                    run.done()
    except Maps:
        return Outcome(job.key, "maps")
    except Stopped as stopped:
        return Outcome(job.key, "stopped", str(stopped), code=INFRASTRUCTURE)
    except Left:
        os._exit(LEFT)
    except (Away, Refused) as error:  # to ask again would be to wait again
        return failed(job, error, time.time() - started)
    except Exception as error:
        with contextlib.suppress(Exception):  # a record that stands is not undone by what came after it
            if Store(job.place.store).has(job.key):
                return Outcome(job.key, "done", seconds=time.time() - started)
        return judged(failed(job, error, time.time() - started), job, error)
    return Outcome(job.key, "done", seconds=time.time() - started, recorded=recorded)


def failed(job: Job, error: Exception, seconds: float) -> Outcome:
    """The outcome of an exception: its first line, its class and whether another try can help (input and output only)."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    code = exit_code_of(error)
    perhaps = code == BUG and isinstance(error, RuntimeError) and not isinstance(error, NotImplementedError | RecursionError)
    retry = getattr(error, "retry", isinstance(error, OSError) or perhaps)  # what torch raises may be the machine's fault
    trace = redact("".join(traceback.format_exception(error)))
    if isinstance(error, MemoryError):
        return Outcome(job.key, "failed", redact(out_of_memory(job, text)), "oom", code, False, trace, seconds)
    return Outcome(job.key, "failed", redact(text), type(error).__name__, code, retry, trace, seconds)


def out_of_memory(job: Job, reason: str) -> str:
    """What a trial for which there is not enough memory is marked with: the reason, and the batch that it had."""
    batch = getattr(job.arguments.get("update"), "batch", None)
    told = f" with a batch of {batch}" if batch and "batch" not in reason else ""
    remedy = "" if "raise" in reason else "; give it more memory (--on.memory), a smaller batch or more update.accumulation"
    return f"out of memory{told}: {reason}{remedy}"


def judged(outcome: Outcome, job: Job, error: Exception) -> Outcome:
    """A failure, with the inputs that are not as recorded: files of another size; where bytes were missing or unlike, those of other bytes too.

    Where all inputs in a remote store are found as recorded, what was unlike came so by the way there, and another try may help.
    """
    store, keys = Store(job.place.store), list(dict.fromkeys(referred(job.arguments)))
    suspicious = isinstance(error, FileNotFoundError) or outcome.code == INTEGRITY
    with contextlib.suppress(Exception):  # the store does not answer: then the error itself is what there is to tell
        there = store.done(keys)
        gone = [(key, "", f"{store.place.at(key)} has no record any more") for key in keys if key not in there]
        found = damaged(store, keys, job.place.digest if suspicious else None)
        wrong = (*gone, *((key, *what) for key, what in found.items()))
        by_the_way = suspicious and bool(keys) and not wrong and not store.place.local
        return replace(outcome, damaged=wrong, retry=outcome.retry or by_the_way)
    return outcome


def takes_run(fn: Callable[..., Any]) -> bool:
    return "run" in inspect.signature(fn).parameters


def source_root() -> str:
    """The folder that holds the packages, for the import path of workers."""
    return str(Path(__file__).resolve().parent.parent)
