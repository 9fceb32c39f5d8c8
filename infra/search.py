"""Searches: which trials are made and which are stopped early. Frozen knobs, and the decisions behind them, without input or output.

A search is one node. What it finds depends on what ended when, so that it is deterministic once it is recorded, and not promised when it is
computed again elsewhere; one trial after another, without Ray, it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from infra.space import Point, Space, draw

DONE, STOPPED, FAILED = "done", "stopped", "failed"  # how a trial ended


@dataclass(frozen=True)
class ASHA:
    """Asynchronous successive halving: at steps grace, grace * reduction, ... up to max_t only the best 1/reduction of the trials so far go on.

    No trial goes beyond max_t: give it the steps of the component. Li et al. 2018, arXiv:1810.05934; it decides as Ray Tune's scheduler does,
    with one bracket.
    """

    __revision__: ClassVar[int] = 1
    max_t: int
    grace: int = 1
    reduction: float = 4.0

    def __post_init__(self) -> None:
        if not 1 <= self.grace <= self.max_t or self.reduction <= 1:
            raise ValueError(f"{self}: give 1 <= grace <= max_t, in steps, and a reduction above 1")

    def rungs(self) -> list[float]:
        """The steps at which is decided, the highest first."""
        count = int(math.log(self.max_t / self.grace) / math.log(self.reduction) + 1)
        return [self.grace * self.reduction**k for k in reversed(range(count))]


@dataclass(frozen=True)
class Random:
    """Trial i is point i of `draw(space, n, seed=seed)`: what it shares with a sweep is computed once."""

    __revision__: ClassVar[int] = 1
    seed: int = 0


@dataclass(frozen=True)
class Optuna:
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) learns from what has ended; trial i is drawn from (seed, i) and that."""

    __revision__: ClassVar[int] = 1
    seed: int = 0


@dataclass(frozen=True)
class Search:
    """What makes a call a search: `n` trials over a space, by a searcher, stopped by a scheduler."""

    __revision__: ClassVar[int] = 1
    over: Space
    n: int
    scheduler: ASHA | None = None
    searcher: Random | Optuna = Random()


@dataclass
class Trial:
    """A trial so far.

    asked: what a searcher knows its point by. looks: (step, value, whether it was to stop there) of each; key: of its record; order: when it ended
    among the others.
    """

    index: int
    point: Point = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    looks: list[tuple[int, float, bool]] = field(default_factory=list)
    state: str = ""
    key: str = ""
    error: str = ""
    order: int = -1

    @property
    def stopped(self) -> bool:
        return any(stop for _, _, stop in self.looks)


class Suggestions(Protocol):
    """Where points come from, by trial and by what has ended before."""

    def suggest(self, trial: Trial) -> None: ...
    def ended(self, trial: Trial) -> None: ...


class Drawn:
    """Points that do not depend on what is found."""

    def __init__(self, search: Search) -> None:
        self.points = draw(search.over, search.n, seed=search.searcher.seed)

    def suggest(self, trial: Trial) -> None:
        trial.point = self.points[trial.index]

    def ended(self, trial: Trial) -> None:
        """Nothing is learned from it."""


class Rungs:
    """What ASHA knows: the values that trials had at each rung, more is better."""

    def __init__(self, scheduler: ASHA | None) -> None:
        self.scheduler = scheduler
        self.reached: list[tuple[float, dict[int, float]]] = [(step, {}) for step in scheduler.rungs()] if scheduler else []

    def look(self, trial: int, step: int, value: float) -> bool:
        """Take in a value; whether the trial is to stop there."""
        if self.scheduler is None or step >= self.scheduler.max_t:
            return self.scheduler is not None
        for rung, values in self.reached:
            if step >= rung and trial not in values:
                stop = bool(values) and value < percentile(list(values.values()), 1 - 1 / self.scheduler.reduction)
                values[trial] = value
                return stop
        return False


def percentile(values: Sequence[float], q: float) -> float:
    """The q-quantile by linear interpolation, to the last bit as numpy's."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    low = min(int(at), len(ordered) - 1)
    a, b, t = ordered[low], ordered[min(low + 1, len(ordered) - 1)], at - low
    return a + (b - a) * t if t < 0.5 else b - (b - a) * (1 - t)


def ranking(trials: Sequence[Mapping[str, Any]], stopped: bool) -> list[Mapping[str, Any]]:
    """The trials of a search from the best on, of equals the earlier first; those that were stopped early only where they are wanted."""
    there = [trial for trial in trials if trial["state"] == DONE or (stopped and trial["state"] == STOPPED)]
    return sorted(there, key=lambda trial: (-trial["value"], trial["index"]))


def nth_best(found: list[Any], place: int, stopped: bool = False, model: Any = None) -> Any:
    """What the trial at a place of a search's ranking gave, byte for byte; `model` is that, filled in by the runner."""
    if model is None:
        there = len(ranking(found, stopped))
        hint = "" if stopped else f", and {len(ranking(found, True)) - there} were stopped early (top(..., stopped=True) takes them)"
        raise ValueError(f"the search has {there} trials that ended{hint}; there is no number {place + 1}: ask for fewer, or search more")
    return model


nth_best.__revision__ = 1  # type: ignore[attr-defined]
