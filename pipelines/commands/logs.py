"""`stockpot logs [ID]`: what a run on a cluster printed, and with --follow what it prints from now on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from infra.backends.cluster.jobs import Jobs
from infra.secrets import redact
from pipelines.commands.status import There, named
from pipelines.commands.studies import option, parse
from pipelines.commands.submit import watch

USAGE = "usage: stockpot logs [ID] [--follow] [--address URL]   (ID: or its beginning; what stockpot submit printed)"


@dataclass(frozen=True)
class Options(There):
    """Which cluster, and how long."""

    follow: bool = option(False, "until the run ends, and then end with its exit code")


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    jobs = Jobs(options.address)
    job = named(jobs, words, USAGE)
    if options.follow:
        return watch(jobs, job)
    print(redact(jobs.log(job.id) or job.message).rstrip("\n"))
    return 0
