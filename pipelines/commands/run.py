"""`stockpot run STUDY [PRESET] [--field value ...]`: compute what is missing, print the table, leave the page."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from pipelines.commands.limit import Asked, agree
from pipelines.commands.session import Session, command_line, open_store
from pipelines.commands.studies import chosen


def main(argv: Sequence[str]) -> int:
    name, preset, study, options = chosen(argv, "run", Asked)
    plan = study.plan()
    agree(plan, options)
    store = open_store(options)
    session = Session(store, options, command_line(["run", *argv]))
    status = "killed"
    try:
        finished = session.run(plan, study=name, preset=preset, params=plain(study))
        status = "finished" if finished.complete else "failed"
        if finished.complete:
            from pipelines.report.leave import leave

            leave(finished, session, name, preset)
    finally:
        owed = session.close(status)
    if owed:
        print(owed, file=sys.stderr)
    return finished.exit_code or (3 if owed else 0)


def plain(knob: Any) -> Any:
    """The fields of a study as plain values, for people to read."""
    if dataclasses.is_dataclass(knob):
        return {field.name: plain(getattr(knob, field.name)) for field in dataclasses.fields(knob)}
    if isinstance(knob, dict):
        return {name: str(item) for name, item in knob.items()}
    return list(knob) if isinstance(knob, tuple) else knob
