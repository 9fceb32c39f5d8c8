"""Events of one run's journal as MLflow entities.

A replica may be sent any event any number of times, in this process or a later one, and MLflow holds it once: a parent run is found by its
run id, a child by its node's fingerprint, a point of a metric by its step, and an older state never replaces a newer one.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag

from infra.tracking.entities import Child, Entities, Event, flat, key, milliseconds

STATUS = {"running": "RUNNING", "done": "FINISHED", "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
BATCH = 500  # metrics a call: MLflow takes 1000, and a proxy in front of it perhaps less


class Replica:
    """One run's journal, whose paths are relative to `folder`, in MLflow.

    `observe` takes note of an event, `send` writes an event that was observed and `flush` the metrics that `send` gathered.
    """

    def __init__(self, there: Entities, folder: Path) -> None:
        self.there, self.folder = there, folder
        self._metrics: dict[str, list[Metric]] = defaultdict(list)
        self._tags: dict[str, list[RunTag]] = defaultdict(list)
        self._over: set[str] = set()  # nodes that the events at hand say have ended
        self._computed = False  # whether the run did more than hit its cache

    def expect(self, events: Iterable[Event]) -> None:
        """Know the events that are sent next: MLflow need not hear that something runs where it hears next that it is over."""
        last = {event["fingerprint"]: event["state"] for event in events if event.get("kind") == "node"}
        self._over = {fingerprint for fingerprint, state in last.items() if state in ("done", "failed")}

    def forget(self) -> None:
        """Look everything up anew."""
        self.there.forget()
        self.there.sent.clear()
        self._metrics.clear()
        self._tags.clear()

    def observe(self, event: Event) -> None:
        """Remember what later events need to know; MLflow is not asked."""
        if event["kind"] == "run":
            self.there.run = dict(event)
        elif event["kind"] == "node":
            self.there.nodes[event["fingerprint"]].update({name: value for name, value in event.items() if value is not None})
            self._computed = self._computed or event["state"] != "hit"
        elif event["kind"] == "running" and (node := self.there.nodes.get(event["fingerprint"])) is not None:  # else it makes no checkpoint
            node["begun"] = event["at"]
            node["state"] = "running" if node.get("state") == "queued" else node.get("state")

    def send(self, event: Event) -> None:
        """Write one event. A run that only hit its cache leaves nothing, and a kind that is not known a newer stockpot wrote."""
        if not self._computed:
            return
        if event["kind"] not in ("metric", "score", "node", "running"):
            self.flush()
        send = {
            "node": self._node, "running": self._running, "metric": self._metric, "score": self._score,
            "champion": self._champion, "artifact": self._artifact, "end": self._end,
        }.get(event["kind"])
        if send:
            send(event)

    def flush(self) -> None:
        """Write the gathered metrics; they stay gathered where this raises."""
        for run, metrics in list(self._metrics.items()):
            while metrics:
                self.there.client.log_batch(run, metrics=metrics[:BATCH])
                del metrics[:BATCH]
            del self._metrics[run]
        for run, tags in list(self._tags.items()):
            while tags:
                self.there.client.log_batch(run, tags=tags[:100])
                del tags[:100]
            del self._tags[run]

    # One method for each kind of event.

    def _node(self, event: Event) -> None:
        fingerprint, state = event["fingerprint"], str(event["state"])
        if state in ("hit", "queued") or (state == "running" and fingerprint in self._over):
            return
        tags = self.there.tags(self.there.nodes[fingerprint], ("function", "uri", "digest", "duration", "reason"))
        tags |= {"stockpot.state": state, "stockpot.at": str(event["at"])}
        child = self.there.child(fingerprint, milliseconds(event), tags)
        if child and event["at"] >= child.at:
            self._state(fingerprint, child, event, tags)

    def _running(self, event: Event) -> None:
        """A process begins with a node. What counts is the driver's clock, and it may have ended by that."""
        fingerprint = event["fingerprint"]
        node = self.there.nodes.get(fingerprint, {})
        if node.get("state") == "running" and "at" in node:
            self._node({"kind": "node", "fingerprint": fingerprint, "state": "running", "at": node["at"]})

    def _state(self, fingerprint: str, child: Child, event: Event, tags: Mapping[str, str]) -> None:
        """The state of a child, and what else waits to be told of it, in as few calls as may be."""
        node, state, waiting = self.there.nodes[fingerprint], str(event["state"]), self._metrics[child.id]
        params = [Param(*item) for item in flat(node.get("params") or {}) if item[0] not in child.params]
        news = [RunTag(*tag) for tag in tags.items() if child.given.get(tag[0]) != tag[1]]
        if params or news or waiting:
            self.there.client.log_batch(child.id, metrics=(sent := waiting[:BATCH]), params=params[:100], tags=news)
            del waiting[: len(sent)]
        for i in range(100, len(params), 100):
            self.there.client.log_batch(child.id, params=params[i : i + 100])
        child.params = {**child.params, **{param.key: param.value for param in params}}
        child.at = event["at"]
        made, child.given = bool(child.given), {}
        if state == "running":
            if not made:  # a run that is made is running
                self.there.client.update_run(child.id, status="RUNNING", name=node.get("label"))
        else:
            if (label := node.get("label")) and child.name != label:
                self.there.client.update_run(child.id, name=label)
                child.name = label
            self.there.client.set_terminated(child.id, STATUS.get(state, "FAILED"), milliseconds(event))
        if state == "done":
            self.there.model_id(fingerprint, child)

    def _metric(self, event: Event) -> None:
        child = self.there.child(event["fingerprint"], milliseconds(event))
        if child:
            self.there.nodes[event["fingerprint"]].setdefault("begun", event["at"])
        step = int(event["step"])
        for given, value in event["values"].items() if child else ():
            finite = isinstance(value, int | float) and math.isfinite(value)
            name = key(given) if finite else "diverged"  # MLflow sorts and filters by what it holds: never by nan
            if child and child.steps.get(name, -1) < step < 1 << 63:
                child.steps[name] = step
                self._metrics[child.id].append(Metric(name, float(value) if finite else 1.0, milliseconds(event), step))

    def _score(self, event: Event) -> None:
        fingerprint, value, name = event.get("fingerprint", ""), event["value"], key(f"{event['split']}/{event['metric']}")
        if not isinstance(value, int | float):
            return
        child, count = self.there.child(fingerprint, milliseconds(event)) if fingerprint else None, str(event.get("n", ""))
        if child is None:  # an ensemble is no checkpoint: its numbers stand on the parent
            label = event.get("label") or self.there.nodes[fingerprint].get("label") or fingerprint[:12]
            self._metrics[self.there.parent_id()].append(Metric(key(f"{label}/{name}"), float(value), milliseconds(event), 0))
        elif child.scores.get(name) != (value, count):
            self._metrics[child.id].append(Metric(name, float(value), milliseconds(event), 0, self.there.model_id(fingerprint, child)))
            self._tags[child.id].append(RunTag(f"stockpot.n.{name}", count))
            child.scores[name] = (float(value), count)

    def _champion(self, event: Event) -> None:
        """A version of the registered model that points at the winner, and the alias `champion` at the newest of them."""
        fingerprint, name = event["fingerprint"], re.sub(r"[/:]", "-", str(event["name"]))
        self.there.nodes[fingerprint].update({key: event[key] for key in ("fingerprint", "uri", "digest") if event.get(key)})
        child = self.there.child(fingerprint, milliseconds(event))
        model = self.there.model_id(fingerprint, child) if child else None
        if child is None or model is None:
            return
        if not self.there.client.search_registered_models(f"name = '{name}'"):
            self.there.client.create_registered_model(name)
        versions = self.there.client.search_model_versions(f"name = '{name}'")
        mine = next((version for version in versions if version.tags.get("stockpot.fingerprint") == fingerprint), None)
        if mine is None:
            tags = self.there.tags(event, ("fingerprint", "uri", "digest", "at"))
            mine = self.there.client.create_model_version(name, f"models:/{model}", child.id, tags, model_id=model)
        newest = max((float(version.tags.get("stockpot.at", 0)) for version in versions), default=0.0)
        if event["at"] >= newest:
            self.there.client.set_model_version_tag(name, mine.version, "stockpot.at", str(event["at"]))
            self.there.client.set_registered_model_alias(name, "champion", mine.version)

    def _artifact(self, event: Event) -> None:
        path = self.folder / str(event["path"])
        if path.is_dir():
            self.there.client.log_artifacts(self.there.parent_id(), str(path), path.name)
        elif path.is_file():
            self.there.client.log_artifact(self.there.parent_id(), str(path))

    def _end(self, event: Event) -> None:
        """The truth about what is over: a child that nobody finished was killed."""
        for fingerprint, node in self.there.nodes.items():
            if node.get("state") == "running" or (node.get("state") == "queued" and node.get("begun")):
                self._node({**event, "kind": "node", "fingerprint": fingerprint, "state": "killed"})
        self.there.client.set_terminated(self.there.parent_id(), STATUS.get(str(event["status"]), "FAILED"), milliseconds(event))
