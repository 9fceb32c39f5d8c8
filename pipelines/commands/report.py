"""`stockpot report STUDY [PRESET]`: the page of a study from the store's records; nothing is computed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from components.weights.digests import digests_of
from infra.dag import Fingerprints
from infra.finished import Finished
from infra.schedule import Schedule
from infra.store.pins import Pins
from pipelines.commands.session import command_line, open_store
from pipelines.commands.studies import Options, chosen, option
from pipelines.commands.text import counted


@dataclass(frozen=True)
class Asked(Options):
    """Where and how, and where else the page is to be."""

    out: str = option("", "a folder that gets the page as well: to open it where the store is not on this disk")


def main(argv: Sequence[str]) -> int:
    asked = chosen(argv, "report", Asked)
    store, plan = open_store(asked.options, create=False), asked.study.plan()
    fingerprints = Fingerprints(Pins(store.place, digests_of).of(plan))
    schedule = Schedule(plan, fingerprints.key, store.done)
    needed = {name: fingerprints.key(node) for name, node in plan.targets.items() if name not in plan.beside}
    missing = {name: key for name, key in needed.items() if not store.has(key)}
    if missing:
        listed = ", ".join(f"{name} ({key})" for name, key in missing.items())
        todo = counted(schedule.count("pending"), "stage")
        raise ValueError(f"{store.url} lacks {listed}, {todo} in all; compute them with: {command_line(['run', *argv])}")
    from pipelines.report.leave import folder_of, show, write_page
    from pipelines.report.page import write
    from pipelines.report.story import story_of

    finished = Finished(plan, store, fingerprints, {**dict.fromkeys(map(fingerprints.key, plan.nodes()), "hit"), **schedule.state})
    story = story_of(finished, asked.name, asked.preset, command_line(["run", *argv]))
    folder = folder_of(finished, asked.name, asked.preset)
    write_page(store.place.at(folder), story)
    if asked.options.out:
        write(asked.options.out, story)
    show(story, os.path.join(asked.options.out, "index.html") if asked.options.out else store.place.at(f"{folder}/index.html"))
    return 0
