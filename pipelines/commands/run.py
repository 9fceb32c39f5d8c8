"""`stockpot run STUDY [PRESET] [--field value ...]`: compute what is missing, print the table, leave the page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pipelines.commands.session import Session, command_line, open_store
from pipelines.commands.studies import near, parse, presets, studies

USAGE = "usage: stockpot run STUDY [PRESET] [--field value ...] [--config FILE.yaml] [--store URL] [--tracking URI] [--ray local|none|ADDRESS]"


def chosen(argv: Sequence[str], command: str) -> tuple[str, str, Any, Any]:
    """(study's name, preset's name, study, options) of the words after `stockpot run`."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE.replace(" run ", f" {command} "), "", "studies:", *(f"  {name:<10} {claim}" for name, claim in studies().items()), sep="\n")
        raise SystemExit(0)
    name, rest = argv[0], list(argv[1:])
    known = presets(name)
    preset = rest.pop(0) if rest and not rest[0].startswith("-") else "tiny"
    if preset not in known:
        raise ValueError(f"{preset!r} is not a preset of {name}{near(preset, list(known))}; there are {', '.join(known)}")
    study, options = parse(f"stockpot {command} {name} {preset}", known[preset], rest)
    return name, preset, study, options


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
