"""`stockpot run STUDY [PRESET] [--field value ...]`: compute what is missing, print the table, leave the page."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.commands.session import Session, command_line, open_store
from pipelines.commands.studies import chosen


def main(argv: Sequence[str]) -> int:
    name, preset, study, options = chosen(argv, "run")
    store = open_store(options)
    session = Session(store, options, command_line(["run", *argv]))
    status = "killed"
    try:
        finished = session.run(study.plan(), study=name, preset=preset, params={})
        status = "finished" if finished.complete else "failed"
        if finished.complete:
            from pipelines.report.leave import leave

            leave(finished, session, name, preset)
    finally:
        owed = session.close(status)
    if owed:
        print(owed, file=sys.stderr)
    return finished.exit_code or (3 if owed else 0)
