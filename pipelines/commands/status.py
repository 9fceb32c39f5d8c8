"""`stockpot status [ID]`: the runs on a cluster, or all about one; and the finding of a run by what a person types."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from infra.backends.cluster.jobs import Jobs, Submission
from infra.secrets import redact
from pipelines.commands.fields import near
from pipelines.commands.ls import age, when
from pipelines.commands.studies import option, parse
from pipelines.commands.text import clock, columns

USAGE = "usage: stockpot status [ID] [--address URL] [--json]   (ID: or its beginning; what stockpot submit printed)"
LAST = 5  # lines of the log


@dataclass(frozen=True)
class There:
    """Which cluster."""

    address: str = option("", "the cluster's dashboard, http://HOST:8265 (default: $RAY_ADDRESS)")


@dataclass(frozen=True)
class Options(There):
    """Which cluster, and how it is told."""

    json: bool = option(False, "as JSON")


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    jobs = Jobs(options.address)
    found = [named(jobs, words, USAGE)] if words else jobs.all()
    if options.json:
        print(json.dumps([{**dataclasses.asdict(one), "code": one.code if one.over else None} for one in found], indent=1))
    elif words:
        print(*about(found[0], jobs.log(found[0].id)), sep="\n")
    else:
        print(*(table(found) if found else [f"{jobs.address}: nothing was submitted to this cluster since it was started"]), sep="\n")
    return 0


def named(jobs: Jobs, words: Sequence[str], usage: str) -> Submission:
    """The run that the words name. ValueError where they name none, or several."""
    if len(words) > 1:
        raise ValueError(f"{words[1]!r} is one word too many; {usage}")
    word, runs = words[0] if words else "", jobs.all()
    found = picked(runs, word)
    if found is None and word in jobs.strangers():
        raise ValueError(f"{word} is a job of this cluster, and none of stockpot's; ray job status {word}")
    if found is None:
        ids = [one.id for one in runs]
        there = f"there are {', '.join(ids[-LAST:])}" if ids else "nothing was submitted to it since it was started"
        raise ValueError(f"{word or 'ID'}: no such run on {jobs.address}{near(word, ids)}; {there}")
    return found


def picked(runs: Sequence[Submission], word: str) -> Submission | None:
    """The run whose id begins so, of one plan the last; without a word the only one under way, or where there is none the last of all."""
    if word:
        found = [one for one in runs if one.id == word] or [one for one in runs if one.id.startswith(word)]
    else:
        found = [one for one in runs if not one.over] or list(runs[-1:])
    if len({one.plan for one in found}) > 1:
        raise ValueError(f"which one? {', '.join(one.id for one in found)}")
    return found[-1] if found else None


def state(one: Submission) -> str:
    """The state, with the exit code that a person may look up."""
    return f"{one.state} ({one.exit_code})" if one.exit_code else one.state


def table(runs: Sequence[Submission]) -> list[str]:
    """A line a run, the oldest first."""
    rows = [["id", "study", "state", "since", "took", "store"]]
    for one in runs:
        study = f"{one.facts.get('study', '')} {one.facts.get('preset', '')}"
        rows.append([one.id, study, state(one), since(one), took(one), one.facts.get("store", "")])
    return columns(rows, right=(4,))


def since(one: Submission) -> str:
    moment = one.ended or one.started
    return f"{age(time.time() - moment)} ago" if moment else ""


def took(one: Submission) -> str:
    return clock((one.ended or time.time()) - one.started) if one.started else ""


def about(one: Submission, log: str) -> list[str]:
    """All that is known of a run, what it printed last, and what to do about it."""
    facts = {
        "state": state(one), "study": f"{one.facts.get('study', '')} {one.facts.get('preset', '')}", "store": one.facts.get("store", ""),
        "began": when(one.started), "ended": when(one.ended), "took": took(one), "source": one.facts.get("source", ""), "runs": one.words,
    }  # fmt: skip
    lines = [one.id, *columns([["", name, value] for name, value in facts.items() if value])]
    last = [line.rstrip() for line in (log or one.message).splitlines() if line.strip()][-LAST:]
    return [*lines, "", *map(redact, last), "", *advice(one)]


def advice(one: Submission) -> list[str]:
    """The next command."""
    again = f"it goes on from there: {one.facts.get('command', '')}"
    if not one.over:
        return [f"stockpot logs {one.id} --follow", f"stockpot stop {one.id}"]
    if one.state == "done":
        return [f"its page: {report(one)}"]
    bytes = f"stockpot verify {one.facts.get('store', '')} tells which bytes are not as recorded"
    wrong = {2: "correct what is told above, and submit it again", 5: bytes}
    return [wrong.get(one.exit_code or 0, again)]


def report(one: Submission) -> str:
    """The command that writes a run's page to this disk, from the words of the run itself."""
    words = shlex.split(one.words)
    own = [word for word in words[words.index("run") + 1 :] if not word.startswith(("--ray=", "--tracking="))]
    return shlex.join(["stockpot", "report", *own, "--out", "./page"])
