"""Toy components that make models of the shipped one, importable by worker processes, and a store in which plans with queries run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from components.models.openclip import OpenClip, pretrained
from components.models.stored import Stored, nth
from components.types import Dataset, Examples, Objective, Run, revision
from components.weights import Checkpoint, Vector
from components.weights.digests import digests_of
from components.weights.files import digest_of
from infra.backends.local import Local
from infra.dag import Node, Plan, call
from infra.finished import Finished
from infra.identity import Resolved
from infra.job import Site
from infra.runner import Runner
from infra.store.pins import Pins
from tests.infra.world import World


@revision(1)
@dataclass(frozen=True)
class Data(Dataset):
    """A source by name, of which nothing is ever opened; `low` and `high` are the part of it."""

    name: str
    low: float = 0.0
    high: float = 1.0

    def open(self, run: Run) -> Examples:
        raise NotImplementedError

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return ((Data(self.name), self.low, self.high),)


@revision(1)
def scaled(init: Vector, by: float, data: Annotated[Dataset | None, "trains"] = None) -> Vector:
    """Stands for a training: other weights of the same ancestry."""
    return init * by


@revision(1)
def trained(init: Vector, by: float, objective: Objective, data: Annotated[Dataset | None, "trains"] = None) -> Vector:
    """Stands for a training with an objective."""
    return init * by


@revision(1)
def crowned(init: Vector, data: Annotated[Dataset | None, "trains"] = None) -> Vector:
    """Stands for a training of the head alone."""
    import numpy as np

    head = {"head.weight": np.ones((2, 8), np.float32), "head.bias": np.zeros(2, np.float32)}
    return Checkpoint.of({**dict(init.tensors()), **head}, {**init.spec, "classes": ["a", "b"]}, init.extras)


@revision(1)
def looked(models: list[Any], data: Annotated[Dataset | None, "reports"] = None) -> list[str]:
    """Stands for a report: the digests of models."""
    return [str(model.digest) for model in models]


BASE, AUXILIARY, TARGET = OpenClip(), Data("auxiliary"), Data("target")


def base() -> Node:
    return call(pretrained, model=BASE)


def auxiliary(*factors: float, data: Dataset = AUXILIARY) -> dict[str, Node]:
    return {f"auxiliary {by}": call(scaled, init=base(), by=by, data=data) for by in factors}


def query(**changes: Any) -> Stored:
    return Stored(**{"model": BASE, "functions": ("scaled", "adopt"), "avoid": (TARGET,), **changes})


def recycled(count: int, found: Stored | None = None, report: Dataset | None = None) -> Plan:
    """Trials from the base and from each of `count` members, and a report on them."""
    starts = [base(), *(call(nth, found=found or query(), index=i) for i in range(count))]
    tuned = [call(scaled, init=start, by=0.5, data=TARGET) for start in starts]
    return Plan({"report": call(looked, models=tuned, data=report), **{f"trial {i}": node for i, node in enumerate(tuned)}})


class Kitchen(World):
    """A store whose plans have queries, which are resolved before each run."""

    def pinned(self, plan: Plan) -> Resolved:
        return Pins(self.store.place, digests_of).of(plan)

    def cook(self, plan: Plan, backend: Any = None) -> Finished:
        self.runs += 1
        place = Site(self.store.url, self.store.place.at(f"runs/{self.runs}"), str(self.folder / "cache"), digest=digest_of)
        runner = Runner(self.store, backend or Local(str(self.folder / "log")), place, self.pinned(plan), self.watch)
        self.key = runner.fingerprints.key
        return runner.run(plan)
