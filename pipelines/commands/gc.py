"""`stockpot gc`: what a store holds and nothing needs any more; a plan first, and with --yes it is removed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infra.errors import OK, PARTIAL
from infra.store.gc import IN_USE, SERVED, Waste, collect, plan
from infra.store.store import Store
from infra.tracking import database
from pipelines.commands import studies
from pipelines.commands.session import command_line, named, open_store, tracking_uri
from pipelines.commands.studies import Where, option, parse
from pipelines.commands.text import clock, columns, counted, size

USAGE = "usage: stockpot gc [STORE] [--unused] [--yes]   (nothing younger than a day, and nothing of a node that is being computed)"
SHOWN = 5  # of what could not be removed


@dataclass(frozen=True)
class Options(Where):
    """What to remove."""

    yes: bool = option(False, "remove it; without this the plan is printed")
    unused: bool = option(False, "also payloads that others were made from, and that no page, alias or champion names: trials of finished sweeps")
    tracking: str = option("", "MLflow whose aliases name what is kept (default: $MLFLOW_TRACKING_URI, else a database beside a local store)")


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    store = open_store(named(words, options, USAGE), create=False)
    found = list(plan(store, aliased(store, options.tracking), options.unused))
    if not found:
        print(f"{store.url}: nothing to remove")
        return OK
    table(found)
    if served := [one for one in found if one.kind == SERVED and one.name.endswith("/record.json")]:
        functions = Counter(one.key.rpartition("-")[0] for one in served)
        work = clock(sum(one.seconds for one in served))
        print(f"\na later run that needs them computes again: {', '.join(f'{count} {name}' for name, count in functions.items())}, {work} of work")
    if not options.yes:
        print(f"\n{counted(len(found), 'file')}, {size(sum(one.size for one in found))}; to remove them: {command_line(['gc', *argv, '--yes'])}")
        return OK
    return removed(store, found)


def aliased(store: Store, tracking: str) -> list[str]:
    """What the registry names, where there is one."""
    uri = tracking_uri(studies.Options(tracking=tracking), store)
    if not uri or ((path := database.file(uri)) and not path.exists()):
        return []
    from infra.tracking.registry import aliased

    return aliased(uri)


def table(found: Iterable[Waste]) -> None:
    number: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for one in found:
        number[one.kind] += 1
        kept[one.kind] += one.size
    rows = [[kind, str(number[kind]), size(kept[kind])] for kind in sorted(number, key=lambda kind: -kept[kind])]
    print(*columns([["what", "files", "bytes"], *rows], right=(1, 2)), sep="\n")


def removed(store: Store, found: Sequence[Waste]) -> int:
    """Remove it, and say what stays."""
    files = total = used = 0
    stays: Counter[str] = Counter()
    for one, reason in collect(store, found):
        if not reason:
            files, total = files + 1, total + one.size
        elif reason == IN_USE:
            used += 1
        else:
            stays[reason] += 1
            if stays.total() <= SHOWN:
                print(f"stays: {store.place.at(one.name)}: {reason}", file=sys.stderr, flush=True)
    print(f"\n{store.url}: {counted(files, 'file')} removed, {size(total)}" + (f"; {used} are in use by now, and stay" if used else ""))
    for reason, count in stays.items():
        print(f"{counted(count, 'file')} could not be removed: {reason}")
    return PARTIAL if stays else OK
