"""`stockpot show [KEY]`: the nodes and the runs of a store, or all that the record of one node says."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra import settings
from infra.errors import IntegrityError
from infra.store import Record, Store
from infra.tracking.journal import bring, read
from pipelines.commands.session import open_store
from pipelines.commands.studies import Where, option, parse
from pipelines.commands.text import clock, columns, size

USAGE = "usage: stockpot show [KEY] [--store URL] [--json]   (the first letters of a key suffice)"


@dataclass(frozen=True)
class Options(Where):
    """What to show."""

    json: bool = option(False, "as JSON")


def when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""


def found(store: Store, word: str) -> str:
    """The key that begins with a word, or whose fingerprint does. ValueError where there is none, or several."""
    keys = [key for key in store.keys() if key.startswith(word) or key.rsplit("-", 1)[1].startswith(word)]  # noqa: SIM118
    if word in keys:
        return word
    if len(keys) != 1:
        some = f"{len(keys)} keys begin with it: {', '.join(keys[:3])} ..." if keys else "stockpot show lists what there is"
        raise ValueError(f"{word!r} is not one key in {store.url}; {some}")
    return keys[0]


def state(store: Store, key: str) -> tuple[str, Record | None]:
    """done, failed (its class), damaged or unfinished; with the record of what is done."""
    try:
        if record := store.record(key):
            return "done", record
    except IntegrityError:
        return "damaged", None
    failure = store.failure(key)
    return (f"failed: {failure.get('kind')}" if failure else "unfinished"), None


def nodes(store: Store) -> list[dict[str, Any]]:
    listed = []
    for key in store.keys():  # noqa: SIM118 (a method of the store)
        now, record = state(store, key)
        kept = sum(file["size"] for file in record.result.get("files", ())) if record else None
        facts = (record.seconds, record.digest, record.started) if record else (None, "", 0.0)
        listed.append({"key": key, "state": now, "seconds": facts[0], "bytes": kept, "digest": facts[1], "started": facts[2]})
    return sorted(listed, key=lambda node: (node["started"] or time.time(), node["key"]))


def runs(store: Store) -> list[dict[str, Any]]:
    """Past runs, from their journals."""
    listed = []
    folder = store.url
    if not store.place.local:
        bring(store.place, folder := settings.state_folder(store.url))
    for name in store.place.names("runs"):
        events: list[Any] = [line.event for line in read(os.path.join(folder, "runs", name)) if line.event]
        began: dict[str, Any] = next((event for event in events if event["kind"] == "run"), {})
        end: dict[str, Any] = next((event for event in reversed(events) if event["kind"] == "end"), {})
        listed.append({"run": name, "status": end.get("status", "unknown"), "started": began.get("at", 0.0), "command": began.get("command", "")})
    return listed


def main(argv: Sequence[str]) -> int:
    words, options = parse(argv, Options, USAGE)
    if len(words) > 1:
        raise ValueError(f"{words[1]!r} is one word too many; {USAGE}")
    store = open_store(options, create=False)
    if words:
        one(store, found(store, words[0]), options.json)
        return 0
    there, past = nodes(store), runs(store)
    if options.json:
        print(json.dumps({"store": store.url, "nodes": there, "runs": past}, indent=1))
        return 0
    rows = [["key", "state", "seconds", "keeps", "digest", "when"]]
    for node in there:
        seconds = "" if node["seconds"] is None else f"{node['seconds']:.1f}"
        rows.append([node["key"], node["state"], seconds, size(node["bytes"]) if node["bytes"] else "", node["digest"][:12], when(node["started"])])
    print(*columns(rows, right=(2, 3)), "", sep="\n")
    if past:
        listed = [[run["run"], run["status"], when(run["started"]), run["command"]] for run in past]
        print(*columns([["run", "status", "when", "command"], *listed]), "", sep="\n")
    done = sum(node["state"] == "done" for node in there)
    spent = clock(sum(node["seconds"] or 0 for node in there))
    print(f"{store.url}: {done} of {len(there)} nodes done, {spent} of work, {size(sum(node['bytes'] or 0 for node in there))}")
    return 0


def one(store: Store, key: str, as_json: bool) -> None:
    """Everything about one node."""
    now, record = state(store, key)
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
