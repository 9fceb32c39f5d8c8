"""What MLflow holds of a run's nodes, found by its tags or made: the experiment, the parent run, a child a checkpoint, its logged model."""

from __future__ import annotations

import functools
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, LoggedModelOutput, LoggedModelStatus, Param, Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from infra.tracking import database

Event = Mapping[str, Any]
SECONDS = 20  # to wait for one answer


class Gone(Exception):
    """A run that was there was deleted in MLflow."""


class Deleted(Exception):
    """The experiment was deleted in MLflow, which keeps its name taken: only its owner can decide what to do."""


FAULTS = (MlflowException, SQLAlchemyError, OSError, Deleted, Gone)  # an error of requests is an OSError


def refuses(error: Exception) -> bool:
    """Whether MLflow said no to what was sent, rather than not answer: 400, 404 and 413, but not a server that is no MLflow."""
    if isinstance(error, Gone):
        return True
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


def milliseconds(event: Event) -> int:
    """When it happened, as MLflow counts time."""
    return int(float(event["at"]) * 1000)


def key(name: str) -> str:
    """A name that MLflow takes for a metric, a parameter or a tag."""
    return re.sub(r"[^\w\-. :/]|\.\.|//", "_", name).strip("/. ")[:250] or "_"


def _quoted(value: str) -> str:
    """A value that cannot end the quotes of an MLflow filter."""
    return value.replace("'", "").replace("\\", "")


def text(value: Any, limit: int = 6000) -> str:
    """A value as MLflow keeps it: a string of limited length."""
    return (value if isinstance(value, str) else json.dumps(value))[:limit]


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested parameters as (dotted name, text)."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield key(f"{prefix}{name}"), text(value)


@dataclass
class Child:
    """An MLflow run and what of it is already there."""

    id: str
    at: float = 0.0  # of the newest state that was sent
    params: Mapping[str, str] = field(default_factory=dict)
    scores: dict[str, tuple[float, str]] = field(default_factory=dict)  # value and n
    steps: dict[str, int] = field(default_factory=dict)  # newest step of each metric
    given: Mapping[str, str] = field(default_factory=dict)  # tags with which it was just made
    name: str = ""  # where only its worker was heard of yet, the beginning of its fingerprint


class Entities:
    """The entities of one run in the MLflow at `tracking`. `run` and `nodes` are what its journal said of them so far.

    `artifacts` is where a new experiment keeps its files, "" for the server's own place.
    """

    def __init__(self, tracking: str, *, name: str, experiment: str, artifacts: str) -> None:
        self.tracking, self.name, self.experiment, self.artifacts = tracking, name, experiment, artifacts
        self.run: dict[str, Any] = {}
        self.nodes: dict[str, dict[str, Any]] = defaultdict(dict)
        self.sent: set[str] = set()  # nodes that were sent before, whose run must be there
        self.forget()

    @functools.cached_property
    def client(self) -> MlflowClient:
        """Made on first use, for that asks the server: here it may fail as any call may."""
        database.make(self.tracking)
        mlflow.set_tracking_uri(self.tracking)
        return MlflowClient(tracking_uri=self.tracking)

    def forget(self) -> None:
        """Look everything up anew: somebody may have deleted it."""
        self._experiment = ""
        self._parent = ""
        self._children: dict[str, Child] = {}
        self._models: dict[str, str] = {}

    def tags(self, facts: Event, names: Sequence[str]) -> dict[str, str]:
        """What is known of the named facts as tags."""
        tags = {f"stockpot.{name}": text(facts[name]) for name in names if facts.get(name) is not None}
        return tags | ({"mlflow.source.name": text(self.run["command"])} if self.run.get("command") else {})

    def experiment_id(self) -> str:
        """The experiment of that name."""
        if not self._experiment:
            found = self.client.get_experiment_by_name(self.experiment)
            if found and found.lifecycle_stage != LifecycleStage.ACTIVE:
                id = found.experiment_id
                raise Deleted(f"experiment {self.experiment} was deleted: `mlflow experiments restore -x {id}`, or choose another")
            try:
                self._experiment = found.experiment_id if found else self.client.create_experiment(self.experiment, self.artifacts or None)
            except MlflowException:
                again = self.client.get_experiment_by_name(self.experiment)  # another run made it in between
                if again is None:
                    raise
                self._experiment = again.experiment_id
        return self._experiment

    def _found(self, tag: str, value: str) -> Run | None:
        where = f"tags.`{tag}` = '{_quoted(value)}'"
        runs = self.client.search_runs([self.experiment_id()], where, max_results=1, order_by=["attributes.start_time ASC"])
        return runs[0] if runs else None

    def parent_id(self) -> str:
        """The run of this `stockpot run`."""
        if not self._parent:
            run = self.run
            name = str(run.get("run", self.name))
            found = self._found("stockpot.run", name)
            tags = self.tags({**run, "run": name}, ("run", "study", "preset", "command"))
            title = " ".join(str(run[fact]) for fact in ("study", "preset") if run.get(fact)) or name
            start = milliseconds(run) if run else None
            self._parent = str((found or self.client.create_run(self.experiment_id(), start, tags, title)).info.run_id)
            params = [Param(*item) for item in flat(run.get("params") or {}) if not found or item[0] not in found.data.params]
            for i in range(0, len(params), 100):
                self.client.log_batch(self._parent, params=params[i : i + 100])
        return self._parent

    def child(self, fingerprint: str, at: int, tags: Mapping[str, str] = MappingProxyType({})) -> Child | None:
        """The run of a node, None for a node that makes no checkpoint. A node that is tried again has the run that it had.

        tags: what a run that is made now has besides.
        """
        node = self.nodes.get(fingerprint, {})
        if not node.get("is_checkpoint", True):
            return None
        if fingerprint not in self._children:
            found = self._found("stockpot.fingerprint", fingerprint)
            if found:
                child = self._known(found)
            elif fingerprint in self.sent:
                raise Gone(f"the run of {fingerprint} is not there any more")
            else:
                own = self.tags({**self.run, "fingerprint": fingerprint}, ("study", "fingerprint")) | dict(tags)
                own["mlflow.parentRunId"] = self.parent_id()
                name, at = str(node.get("label") or fingerprint[:12]), milliseconds({"at": node["begun"]}) if "begun" in node else at
                child = Child(self.client.create_run(self.experiment_id(), at, own, name).info.run_id, given=tags, name=name)
            self._children[fingerprint] = child
        return self._children[fingerprint]

    def _known(self, run: Run) -> Child:
        tags, steps = run.data.tags, {}
        for name in run.data.metrics:
            steps[name] = max(point.step for point in self.client.get_metric_history(run.info.run_id, name))
        scores = {name: (value, tags.get(f"stockpot.n.{name}", "")) for name, value in run.data.metrics.items()}
        return Child(run.info.run_id, float(tags.get("stockpot.at", 0)), run.data.params, scores, steps, name=run.info.run_name)

    def model_id(self, fingerprint: str, child: Child) -> str | None:
        """The logged model that points at a node's checkpoint, None where it has not got one."""
        node = self.nodes.get(fingerprint, {})
        if fingerprint not in self._models and node.get("uri"):
            where = f"tags.`stockpot.fingerprint` = '{_quoted(fingerprint)}'"
            for model in self.client.search_logged_models([self.experiment_id()], where):
                if model.status == LoggedModelStatus.READY:
                    self._models[fingerprint] = model.model_id
                else:
                    self.client.delete_logged_model(model.model_id)  # its making was interrupted
        if fingerprint not in self._models and node.get("uri"):
            name = re.sub(r"[/:.%\"']", "-", str(node.get("label") or node.get("function") or fingerprint[:12]))
            tags = self.tags(node, ("fingerprint", "uri", "digest", "function"))
            model = mlflow.create_external_model(
                name, source_run_id=child.id, tags=tags, params=dict(flat(node.get("params") or {})),
                model_type="checkpoint", experiment_id=self.experiment_id(),
            )
            self.client.log_outputs(child.id, [LoggedModelOutput(model.model_id, max(child.steps.values(), default=0))])
            self._models[fingerprint] = model.model_id
        return self._models.get(fingerprint)

