"""`stockpot show [KEY]`: the nodes and the runs of a store, or all that the record of one node says."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra import settings
from infra.errors import IntegrityError
from infra.store import Store
from infra.store.inventory import keys, listed
from infra.tracking.journal import bring, read
from pipelines.commands.ls import table, totals, when
from pipelines.commands.session import open_store
from pipelines.commands.studies import Where, option, parse
from pipelines.commands.text import columns

USAGE = "usage: stockpot show [KEY] [--store URL] [--json]   (the first letters of a key suffice)"


@dataclass(frozen=True)
class Options(Where):
    """What to show."""

    json: bool = option(False, "as JSON")


def found(store: Store, word: str) -> str:
    """The key that begins with a word, or whose fingerprint does. ValueError where there is none, or several."""
    like = [key for key in keys(store) if key.startswith(word) or key.rsplit("-", 1)[1].startswith(word)]
    if word in like:
        return word
    if len(like) != 1:
        some = f"{len(like)} keys begin with it: {', '.join(like[:3])} ..." if like else "stockpot ls lists what there is"
        raise ValueError(f"{word!r} is not one key in {store.url}; {some}")
    return like[0]


def runs(store: Store) -> list[dict[str, Any]]:
    """Past runs, from their journals."""
    past = []
    folder = store.url
    if not store.place.local:
        bring(store.place, folder := settings.state_folder(store.url))
    for name in store.place.names("runs"):
        events: list[Any] = [line.event for line in read(os.path.join(folder, "runs", name)) if line.event]
        began: dict[str, Any] = next((event for event in events if event["kind"] == "run"), {})
        end: dict[str, Any] = next((event for event in reversed(events) if event["kind"] == "end"), {})
        past.append({"run": name, "status": end.get("status", "unknown"), "started": began.get("at", 0.0), "command": began.get("command", "")})
    return past


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    if len(words) > 1:
        raise ValueError(f"{words[1]!r} is one word too many; {USAGE}")
    store = open_store(options, create=False)
    if words:
        one(store, found(store, words[0]), options.json)
        return 0
    there, past = listed(store, keys(store)), runs(store)
    if options.json:
        print(json.dumps({"store": store.url, "nodes": [dataclasses.asdict(node) for node in there], "runs": past}, indent=1))
        return 0
    print(*table(there), "", sep="\n")
    if past:
        rows = [[run["run"], run["status"], when(run["started"]), run["command"]] for run in past]
        print(*columns([["run", "status", "when", "command"], *rows]), "", sep="\n")
    print(totals(store, there))
    return 0


def one(store: Store, key: str, as_json: bool) -> None:
    """Everything about one node."""
    now, record = listed(store, [key])[0].state, None
    with contextlib.suppress(IntegrityError):
        record = store.record(key)
    failure = store.failure(key)
    if record is None:
        facts = {"key": key, "state": now, **({"failure": failure} if failure else {})}
    else:
        facts = {"key": key, "state": now, "uri": store.payload(record) if "attempt" in record.result else "", "digest": record.digest}
        facts |= {name: value for name, value in dataclasses.asdict(record).items() if name != "key"}
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    import yaml

    shown = {name: value for name, value in facts.items() if value not in (None, "", {}, (), [])}
    if record:
        shown["started"] = when(record.started)
        shown["arguments"] = {name: plain(value) for name, value in record.arguments.items()}
        shown["data"] = [" ".join(map(str, use)) for use in record.data]
    print(yaml.safe_dump(plain(shown), sort_keys=False, allow_unicode=True, width=140), end="")


def plain(value: Any) -> Any:
    """A canonical value for people: objects by class, results by their fingerprint, mappings as such."""
    if isinstance(value, dict):
        if set(value) == {"node"}:
            return f"result {value['node']}"
        if set(value) == {"map"}:
            return {key: plain(item) for key, item in value["map"]}
        inner = {key: plain(item) for key, item in value.items() if key != "is"}
        return {f"{value['is']}": inner} if "is" in value and inner else value.get("is", inner)
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
