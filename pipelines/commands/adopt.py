"""A model from elsewhere in a store: one node, so that queries find it, with what is known of the data that it has seen."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from components.models.stored import Foreign, adopt
from components.weights import Checkpoint
from infra.dag import Plan, call
from infra.store import Record, Store
from infra.store.inventory import KEY, parsed_record
from infra.store.pins import forget
from pipelines.commands.session import Session, command_line, open_store
from pipelines.commands.studies import Options

PAYLOAD = re.compile(rf"(.+)/({KEY.pattern})/attempts/([^/]+)/?")  # of a node, in any store


def seen(url: str) -> str:
    """What trained or selected the model of a node, as the record beside it says: JSON of `[mark, source, low, high]`, "" where it is no node's."""
    if (found := PAYLOAD.fullmatch(url)) is None:
        return ""
    store = Store(found[1])
    content = store.place.read(f"{found[2]}/record.json")
    record = parsed_record(store, found[2], content) if content is not None else None
    if not isinstance(record, Record) or record.result.get("attempt") != found[3]:
        return ""
    data = [use for use in record.data if use[0] in ("trains", "selects", "gates")]
    return json.dumps(data) if data else ""


def adopted(url: str, options: Options, argv: Sequence[str], data: Any = None, origin: str = "") -> tuple[str, int]:
    """(a line, exit code): take a checkpoint folder into the store of the options. origin: where it came from, if `url` is only on its way."""
    store = open_store(options)
    plan = Plan({"model": call(adopt, source=Foreign(url, seen(url)), data=data, label=f"import {origin or url}")})
    session, status = Session(store, options, command_line(["import", *argv])), "killed"
    try:
        finished = session.run(plan, study="import", preset="", params={"source": origin or url})
        status = "finished" if finished.complete else "failed"
    finally:
        owed = session.close(status)
        if origin:
            forget(store.place, url)
    record = finished.record(plan.targets["model"])
    if record is None:
        return owed, finished.exit_code
    where, verb = store.payload(record), "took in" if session.began else "has"
    return f"{verb} {record.key}: {where}, weights {Checkpoint(where).digest[:20]}", finished.exit_code or (3 if owed else 0)
