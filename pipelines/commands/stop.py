"""`stockpot stop [ID]`: a run on a cluster saves its training states and ends; submitting it again goes on from there."""

from __future__ import annotations

from collections.abc import Sequence

from infra.backends.cluster.jobs import GRACE, Jobs
from pipelines.commands.status import There, named
from pipelines.commands.studies import parse

USAGE = "usage: stockpot stop [ID] [--address URL]   (ID: or its beginning; what stockpot submit printed)"


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, There, USAGE)
    jobs = Jobs(options.address)
    job = named(jobs, words, USAGE)
    if not job.over and jobs.stop(job.id):
        print(f"{job.id} saves its states and ends, within {GRACE} s; Ctrl-C does not keep it from that", flush=True)
        job = jobs.ended(job.id)
    print(f"{job.id} is {job.state}" if job.state != "stopped" else f"{job.id} is stopped; it goes on with: {job.facts.get('command', '')}")
    return 0
