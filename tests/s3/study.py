"""A command that runs a small plan of slow nodes in a store: `python -m tests.s3.study STORE FOLDER TARGET COUNT SECONDS`."""

from __future__ import annotations

import json
import sys
from typing import Any

from components.types import revision
from infra import settings
from infra.backends.local import Local
from infra.dag import Node, Plan, call
from infra.job import Site
from infra.runner import Runner
from infra.store import Store
from tests.infra.toys import add


@revision(1)
def slowly(index: int, seconds: float) -> float:
    import time

    time.sleep(seconds)
    return float(index)


def plan(target: str, count: int, seconds: float) -> Plan:
    """The sum of slow numbers, under a name of its own: plans of other targets share the numbers."""
    numbers = [call(slowly, index=i, seconds=seconds, label=f"slow {i}") for i in range(count)]
    return Plan({target: call(add, terms=[*numbers, call(slowly, index=len(target), seconds=0.0)], label=target)})


def tell(event: str, node: Node | None, **facts: Any) -> None:
    if event != "tick":
        print(json.dumps([event, node.title if node else "", str(facts.get("leader", facts.get("holder", "")))]), flush=True)


def main(url: str, folder: str, target: str, count: str, seconds: str) -> int:
    settings.configure()
    store, asked = Store(url), plan(target, int(count), float(seconds))
    store.prepare()
    place = Site(store.url, store.place.at(f"runs/{target}-{folder.rsplit('/', 1)[-1]}"), f"{folder}/cache")
    finished = Runner(store, Local(f"{folder}/log"), place, {}, tell).run(asked)
    print(json.dumps(["value", target, finished.value(asked.targets[target]) if finished.complete else None]), flush=True)
    return finished.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
