"""Events of one run's journal as MLflow entities: the only module that imports mlflow.

A replica may be sent any event any number of times, in this process or a later one, and MLflow holds it once: a parent run is found by its
run id, a child by its node's fingerprint, a point of a metric by its step, and an older state never replaces a newer one.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, LoggedModelOutput, LoggedModelStatus, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

Event = Mapping[str, Any]
STATUS = {"running": "RUNNING", "done": "FINISHED", "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
BATCH = 500  # metrics a call: MLflow takes 1000, and a proxy in front of it perhaps less
SECONDS = 20  # to wait for one answer


class Deleted(Exception):
    """The experiment was deleted in MLflow, which keeps its name taken: only its owner can decide what to do."""


FAULTS = (MlflowException, SQLAlchemyError, OSError, Deleted)  # an error of requests is an OSError


def refuses(error: Exception) -> bool:
    """Whether MLflow said no to what was sent, rather than not answer: 400, 404 and 413, but not a server that is no MLflow."""
    if not isinstance(error, MlflowException):
        return getattr(getattr(error, "response", None), "status_code", None) == 413
    status = error.get_http_status_code()
    return (status in (400, 404) and error.error_code != "ENDPOINT_NOT_FOUND") or "error code 413" in str(error)


def configure(seconds: int = SECONDS) -> None:
    """Let one call take `seconds` at most and leave trying again to the mirror, which knows when to stop."""
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)  # its retries and stack traces: what went wrong is said once, by the mirror
    logging.getLogger("alembic").setLevel(logging.WARNING)
    mlflow.environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT.set(seconds)
    mlflow.environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(0)


def _milliseconds(event: Event) -> int:
    return int(float(event["at"]) * 1000)


def _key(text: str) -> str:
    """A name that MLflow takes for a metric, a parameter or a tag."""
    return re.sub(r"[^\w\-. :/]|\.\.|//", "_", text).strip("/. ")[:250] or "_"


def _quoted(text: str) -> str:
    """A value that cannot end the quotes of an MLflow filter."""
    return text.replace("'", "").replace("\\", "")


def _text(value: Any, limit: int = 6000) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:limit]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield _key(f"{prefix}{name}"), _text(value)


@dataclass
class Child:
    """An MLflow run and what of it is already there."""

    id: str
    at: float = 0.0  # of the newest state that was sent
    params: set[str] = field(default_factory=set)
    steps: dict[str, int] = field(default_factory=dict)  # newest step of each metric
    values: dict[str, float] = field(default_factory=dict)


class Replica:
    """One run's journal in the MLflow at `tracking`; `artifacts` is where a new experiment keeps its files, "" for the server's own place.

    `observe` takes note of an event, `send` writes an event that was observed and `flush` the metrics that `send` gathered.
    """

    def __init__(self, tracking: str, *, folder: Path, experiment: str = "stockpot", artifacts: str = "") -> None:
        self.tracking, self.folder, self.experiment, self.artifacts = tracking, folder, experiment, artifacts
        self.run: dict[str, Any] = {}
        self.nodes: dict[str, dict[str, Any]] = defaultdict(dict)
        self.forget()

    @functools.cached_property
    def client(self) -> MlflowClient:
        """Made on first use, for that asks the server: here it may fail as any call may."""
        mlflow.set_tracking_uri(self.tracking)
        return MlflowClient(tracking_uri=self.tracking)

    def forget(self) -> None:
        """Look everything up anew: somebody may have deleted it."""
        self._experiment = ""
        self._parent = ""
        self._children: dict[str, Child] = {}
        self._models: dict[str, str] = {}
        self._metrics: dict[str, list[Metric]] = defaultdict(list)

    def observe(self, event: Event) -> None:
        """Remember what later events need to know; MLflow is not asked."""
        if event["kind"] == "run":
            self.run = dict(event)
        elif event["kind"] == "node":
            self.nodes[event["fingerprint"]].update({name: value for name, value in event.items() if value is not None})

    def send(self, event: Event) -> None:
        """Write one event. A run that only hit its cache leaves nothing, and a kind that is not known a newer stockpot wrote."""
        if not any(node.get("state", "hit") != "hit" for node in self.nodes.values()):
            return
        if event["kind"] != "metric":
            self.flush()
        send = {
            "node": self._node, "metric": self._metric, "score": self._score,
            "champion": self._champion, "artifact": self._artifact, "end": self._end,
        }.get(event["kind"])
        if send:
            send(event)

    def flush(self) -> None:
        """Write the gathered metrics; they stay gathered where this raises."""
        for run, metrics in list(self._metrics.items()):
            while metrics:
                self.client.log_batch(run, metrics=metrics[:BATCH])
                del metrics[:BATCH]
            del self._metrics[run]

    # What is there, or made now.

    def _experiment_id(self) -> str:
        if not self._experiment:
            found = self.client.get_experiment_by_name(self.experiment)
            if found and found.lifecycle_stage != LifecycleStage.ACTIVE:
                id = found.experiment_id
                raise Deleted(f"experiment {self.experiment} was deleted: `mlflow experiments restore -x {id}`, or choose another")
            try:
                self._experiment = found.experiment_id if found else self.client.create_experiment(self.experiment, self.artifacts or None)
            except MlflowException as error:
                again = self.client.get_experiment_by_name(self.experiment)  # another run made it in between
                if again is None:
                    raise
                self._experiment = str(again.experiment_id) or str(error)
        return self._experiment

    def _found(self, tag: str, value: str) -> Run | None:
        where = f"tags.`{tag}` = '{_quoted(value)}'"
        runs = self.client.search_runs([self._experiment_id()], where, max_results=1, order_by=["attributes.start_time ASC"])
        return runs[0] if runs else None

    def _parent_id(self) -> str:
        """The run of this `stockpot run`."""
        if not self._parent:
            run = self.run
            name = str(run.get("run", self.folder.name))
            found = self._found("stockpot.run", name)
            tags = {f"stockpot.{key}": _text(run[key]) for key in ("study", "preset", "command") if run.get(key)} | {"stockpot.run": name}
            title = " ".join(str(run[key]) for key in ("study", "preset") if run.get(key)) or name
            start = _milliseconds(run) if run else None
            self._parent = str((found or self.client.create_run(self._experiment_id(), start, tags, title)).info.run_id)
            params = [Param(*item) for item in _flat(run.get("params") or {}) if not found or item[0] not in found.data.params]
            for i in range(0, len(params), 100):
                self.client.log_batch(self._parent, params=params[i : i + 100])
        return self._parent

    def _child(self, fingerprint: str, at: int) -> Child | None:
        """The run of a node, None for a node that makes no checkpoint. A node that is tried again has the run that it had."""
        node = self.nodes.get(fingerprint, {})
        if not node.get("is_checkpoint", True):
            return None
        if fingerprint not in self._children:
            found = self._found("stockpot.fingerprint", fingerprint)
            if found:
                child = Child(found.info.run_id, float(found.data.tags.get("stockpot.at", 0)), set(found.data.params))
                for key in found.data.metrics:
                    history = self.client.get_metric_history(child.id, key)
                    newest = max(history, key=lambda metric: (metric.step, metric.timestamp))
                    child.steps[key], child.values[key] = newest.step, newest.value
            else:
                tags = {"mlflow.parentRunId": self._parent_id(), "stockpot.fingerprint": fingerprint}
                tags |= {"stockpot.study": str(self.run["study"])} if self.run.get("study") else {}
                name = str(node.get("label") or fingerprint[:12])
                child = Child(self.client.create_run(self._experiment_id(), at, tags, name).info.run_id)
            self._children[fingerprint] = child
        return self._children[fingerprint]

    def _model_id(self, fingerprint: str, child: Child) -> str | None:
        """The logged model that points at a node's checkpoint, None where it has not got one."""
        node = self.nodes.get(fingerprint, {})
        if fingerprint not in self._models and node.get("uri"):
            where = f"tags.`stockpot.fingerprint` = '{_quoted(fingerprint)}'"
            for model in self.client.search_logged_models([self._experiment_id()], where):
                if model.status == LoggedModelStatus.READY:
                    self._models[fingerprint] = model.model_id
                else:
                    self.client.delete_logged_model(model.model_id)  # its making was interrupted
        if fingerprint not in self._models and node.get("uri"):
            name = re.sub(r"[/:.%\"']", "-", str(node.get("label") or node.get("function") or fingerprint[:12]))
            tags = {f"stockpot.{key}": _text(node[key]) for key in ("fingerprint", "uri", "digest", "function") if node.get(key)}
            model = mlflow.create_external_model(
                name, source_run_id=child.id, tags=tags, params=dict(_flat(node.get("params") or {})),
                model_type="checkpoint", experiment_id=self._experiment_id(),
            )
            self.client.log_outputs(child.id, [LoggedModelOutput(model.model_id, max(child.steps.values(), default=0))])
            self._models[fingerprint] = model.model_id
        return self._models.get(fingerprint)

    # One method for each kind of event.

    def _node(self, event: Event) -> None:
        fingerprint = event["fingerprint"]
        if event["state"] != "hit":
            child = self._child(fingerprint, _milliseconds(event))
            if child and event["at"] >= child.at:
                self._state(fingerprint, child, event)

    def _state(self, fingerprint: str, child: Child, event: Event) -> None:
        node, state = self.nodes[fingerprint], str(event["state"])
        known = ("function", "uri", "digest", "duration", "reason")
        tags = {f"stockpot.{key}": _text(node[key]) for key in known if node.get(key) is not None}
        tags |= {"stockpot.state": state, "stockpot.at": str(event["at"])}
        params = [Param(*item) for item in _flat(node.get("params") or {}) if item[0] not in child.params]
        for i in range(0, max(1, len(params)), 100):
            self.client.log_batch(child.id, params=params[i : i + 100], tags=[RunTag(*tag) for tag in tags.items()])
        child.params |= {param.key for param in params}
        child.at = event["at"]
        if state == "running":
            self.client.update_run(child.id, status="RUNNING", name=node.get("label"))
        else:
            self.client.set_terminated(child.id, STATUS.get(state, "FAILED"), _milliseconds(event))
        if state == "done":
            self._model_id(fingerprint, child)

    def _metric(self, event: Event) -> None:
        child = self._child(event["fingerprint"], _milliseconds(event))
        step = int(event["step"])
        for name, value in event["values"].items() if child else ():
            finite = isinstance(value, int | float) and math.isfinite(value)
            key = _key(name) if finite else "diverged"  # MLflow sorts and filters by what it holds: never by nan
            if child and step > child.steps.get(key, -1):
                child.steps[key] = step
                self._metrics[child.id].append(Metric(key, float(value) if finite else 1.0, _milliseconds(event), step))

    def _score(self, event: Event) -> None:
        fingerprint, value, key = event["fingerprint"], event["value"], _key(f"{event['split']}/{event['metric']}")
        if not isinstance(value, int | float):
            return
        child = self._child(fingerprint, _milliseconds(event))
        if child is None:  # an ensemble is no checkpoint: its numbers stand on the parent
            name = event.get("label") or self.nodes[fingerprint].get("label") or fingerprint[:12]
            self.client.log_batch(self._parent_id(), metrics=[Metric(_key(f"{name}/{key}"), float(value), _milliseconds(event), 0)])
        elif child.values.get(key) != value:
            metric = Metric(key, float(value), _milliseconds(event), 0, self._model_id(fingerprint, child))
            self.client.log_batch(child.id, metrics=[metric], tags=[RunTag(f"stockpot.n.{_key(event['split'])}", str(event.get("n")))])
            child.values[key] = float(value)

    def _champion(self, event: Event) -> None:
        """A version of the registered model that points at the winner, and the alias `champion` at the newest of them."""
        fingerprint, name = event["fingerprint"], re.sub(r"[/:]", "-", str(event["name"]))
        self.nodes[fingerprint].update({key: event[key] for key in ("fingerprint", "uri", "digest") if event.get(key)})
        child = self._child(fingerprint, _milliseconds(event))
        model = self._model_id(fingerprint, child) if child else None
        if child is None or model is None:
            return
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        versions = self.client.search_model_versions(f"name = '{name}'")
        mine = next((version for version in versions if version.tags.get("stockpot.fingerprint") == fingerprint), None)
        if mine is None:
            tags = {f"stockpot.{key}": str(event[key]) for key in ("fingerprint", "uri", "digest", "at") if event.get(key)}
            mine = self.client.create_model_version(name, f"models:/{model}", child.id, tags, model_id=model)
        newest = max((float(version.tags.get("stockpot.at", 0)) for version in versions), default=0.0)
        if event["at"] >= newest:
            self.client.set_model_version_tag(name, mine.version, "stockpot.at", str(event["at"]))
            self.client.set_registered_model_alias(name, "champion", mine.version)

    def _artifact(self, event: Event) -> None:
        path = self.folder / str(event["path"])
        if path.is_dir():
            self.client.log_artifacts(self._parent_id(), str(path), path.name)
        elif path.is_file():
            self.client.log_artifact(self._parent_id(), str(path))

    def _end(self, event: Event) -> None:
        """The truth about what is over: a child that nobody finished was killed."""
        for fingerprint, node in self.nodes.items():
            if node.get("state") == "running":
                self._node({**event, "kind": "node", "fingerprint": fingerprint, "state": "killed"})
        self.client.set_terminated(self._parent_id(), STATUS.get(str(event["status"]), "FAILED"), _milliseconds(event))
