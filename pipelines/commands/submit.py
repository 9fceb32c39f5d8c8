"""`stockpot submit STUDY [PRESET] [--field value ...]`: the same run on a cluster, which goes on when this machine is switched off."""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra import settings, source
from infra.backends.cluster.jobs import Jobs, Submission, address_of
from infra.dag import Fingerprints, Plan
from infra.errors import INTERRUPTED, StoreError
from infra.identity import digest
from infra.secrets import redact, refuse_all
from infra.store.answer import code_of
from infra.store.pins import sources
from infra.store.place import absolute, is_local
from pipelines.commands import limit
from pipelines.commands.fields import written
from pipelines.commands.session import command_line, open_store
from pipelines.commands.studies import Chosen, Options, chosen, option, presets

HERE = ("store", "tracking", "ray", "cpus")  # options of a run that are not passed on as they are


@dataclass(frozen=True)
class Asked(limit.Asked):
    """Where and how to run, up to which cost nobody is asked, and where to send it."""

    ray: str = option("local", "not here: a submitted run has its cluster, and all CPUs of it")
    cpus: int | None = option(None, "not here")
    address: str = option("", "the cluster's dashboard, http://HOST:8265 (default: $RAY_ADDRESS)")
    shared: bool = option(False, "paths are folders that every node sees as this machine does")
    wait: bool = option(False, "show what the run prints, and end as it ends")


def main(argv: Sequence[str]) -> int:
    asked = chosen(argv, "submit", Asked)
    options: Asked = asked.options
    plan, store = asked.study.plan(), remote(options)
    urls = dict.fromkeys(url for node in plan.nodes() for url in sources(list(node.arguments.values())))
    for url in (url for url in urls if not source.holds(url)):
        elsewhere(url, options.shared, f"{url}: is on this machine; copy it to the bucket and give its URL")
    words, address = words_of(asked, store), address_of(options.address)
    limit.agree(plan, options)
    if line := unseen(dataclasses.replace(options, store=store)):
        print(line, file=sys.stderr)
    jobs = Jobs(address)
    facts = {"study": asked.name, "preset": asked.preset, "store": store, "plan": identity(plan, store)[:10]}
    job, new = jobs.submit(words, {**facts, "command": command_line(["submit", *argv])})
    print(told(job, new, words), flush=True)
    return watch(jobs, job) if options.wait else 0


def remote(options: Asked) -> str:
    """The store as every node finds it. ValueError where it lies on this machine, and for options of a local run."""
    if options.ray not in ("local", "auto") or options.cpus is not None:
        raise ValueError("--ray and --cpus are of a run on this machine; a submitted one has its cluster")
    store = options.store or settings.default_store()
    elsewhere(store, options.shared, f"--store {store}: is on this machine; a cluster's store is a bucket, like s3://bucket/store")
    return absolute(store)


def elsewhere(url: str, shared: bool, refusal: str) -> None:
    if is_local(url) and not (shared and url.startswith(("/", "file:///"))):
        raise ValueError(f"{refusal}, or say --shared where every node sees the same folder under a path from /")


def words_of(asked: Chosen, store: str) -> list[str]:
    """The words of `stockpot` that run this study there: its fields where they differ from the preset's, files of YAML resolved.

    ValueError where they hold a secret: everybody who may ask the cluster can read them.
    """
    preset, options = presets(asked.name)[asked.preset], asked.options
    given = dict(differences(written(preset), written(asked.study)))
    own = {field.name: field.default for field in dataclasses.fields(Options) if field.name not in HERE}
    given |= {flag: text for name, default in own.items() for flag, text in differences(written(default), written(getattr(options, name)), name)}
    given |= {"store": store, "ray": "auto"} | ({"tracking": uri} if (uri := tracking(options)) else {})
    words = ["run", asked.name, asked.preset, *(f"--{name}={text}" for name, text in given.items())]
    if secret := next((f"--{name}" for name, text in given.items() if redact(text) != text), ""):
        raise ValueError(f"{secret}: holds a secret, which would be in the cluster's list of jobs for all to read; give the nodes access instead")
    refuse_all(given, "--")
    if chosen(words[1:], "run", limit.Asked).study != asked.study:
        raise ValueError(f"{asked.name}: its fields cannot be written as flags; set them in a preset of pipelines/{asked.name}.py")
    return words


def tracking(options: Asked) -> str:
    """The MLflow that the run is told of; "" leaves it to the environment of the node where it runs."""
    uri = options.tracking or settings.default_tracking()
    if uri and uri != "none" and not uri.startswith(("http://", "https://")):
        raise ValueError(f"--tracking {redact(uri)}: is not a server that a cluster could reach; give its http:// address, or none")
    return uri


def differences(before: Any, after: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """(flag, text) of each field that differs; an object of another class, a list or a mapping is given whole."""
    if isinstance(after, Mapping) and "class_path" in after and (not where or same_class(before, after)):
        for name, value in after["init_args"].items():
            yield from differences(before["init_args"][name], value, f"{where}.{name}" if where else name)
    elif before != after:
        yield where, text_of(after)


def same_class(before: Any, after: Mapping[str, Any]) -> bool:
    return isinstance(before, Mapping) and before.get("class_path") == after["class_path"]


def text_of(value: Any) -> str:
    """A value of a tree as a flag takes it, in one line."""
    import yaml

    if isinstance(value, str):
        return value
    return str(yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False, allow_unicode=True)).removesuffix("...\n").strip()


def identity(plan: Plan, store: str) -> str:
    """What two submissions have in common that would do the same work: what is computed, by the addresses of its data, and the store."""
    fingerprints = Fingerprints()
    return digest([store, *sorted(fingerprints.name(node) for node in plan.targets.values())])


def unseen(options: Asked) -> str:
    """A line where this machine, unlike the nodes, may not look into the store. Raises where it can, and it is none, or its bucket is not there."""
    try:
        open_store(options, create=False, optional=True)
    except StoreError as error:
        if is_local(options.store) or code_of(error) == "NoSuchBucket":
            raise
        return f"note: this machine cannot look into the store ({error}); the nodes will try, with their own credentials"
    return ""


def told(job: Submission, new: bool, words: Sequence[str]) -> str:
    """What became of a submission of these words, and how to go on."""
    lines = [f"{job.id} is submitted" if new else f"{job.id} runs this plan already, so nothing was submitted"]
    if not new and job.facts.get("source") != source.digest():
        lines.append("it runs another source than the one here: to run this one, stop it and submit again")
    if not new and not job.words.endswith(f" {shlex.join(words)}"):
        lines.append("its flags are others than these, which status shows: to have these, stop it and submit again")
    return "\n".join([*lines, f"  stockpot status {job.id}", f"  stockpot logs {job.id} --follow", f"  stockpot stop {job.id}"])


def watch(jobs: Jobs, job: Submission) -> int:
    """Show what a run prints until it ends; its exit code. Ctrl-C ends the watching alone."""
    try:
        silent = True
        for text in jobs.follow(job.id):
            print(redact(text), end="", flush=True)
            silent = False
        job = jobs.ended(job.id)
    except KeyboardInterrupt:
        print(f"\n{job.id} goes on without you; stockpot logs {job.id} --follow shows it again, stockpot stop {job.id} ends it", file=sys.stderr)
        return INTERRUPTED
    if silent and job.message:
        print(redact(job.message))
    if job.state in ("stopped", "failed") and (job.exit_code is None or job.exit_code < 0):
        reason = "it was stopped" if job.state == "stopped" else "its process was lost"
        print(f"{job.id}: {reason}; what was finished is kept, and submitting it again goes on from there", file=sys.stderr)
    return job.code
