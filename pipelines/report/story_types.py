"""A story: everything that the page of a run tells, as plain frozen data that JSON can hold.

Whatever is left empty is left out of the page, so that every study tells its own story with the same types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["zero_shot", "single", "best", "uniform", "greedy", "ensemble", "greedy_ensemble", "wise", "other"]
Meaning = Literal["trained", "selected", "reported"]
State = Literal["hit", "ran", "failed", "blocked", "waiting"]
Noun = Literal["shift", "domain", "task"]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Split:
    """Part of the data and what it was used for; `shift` marks a reported split that is out of distribution."""

    name: str
    meaning: Meaning
    n: int
    shift: bool = False
    note: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Model:
    """A model of the table; `members` are the trials it is made of, `alpha` its place on an interpolation curve.

    `main` rows stand in the main table; individual fine-tunes and the points of a curve are folded away below it.
    """

    name: str
    kind: Kind
    alpha: float | None = None
    members: tuple[int, ...] = ()
    uri: str = ""
    digest: str = ""
    main: bool = True


@dataclass(frozen=True)
class Trial:
    """One fine-tune of the sweep: its knobs by path and, where it finished, its held-out count."""

    index: int
    point: Mapping[str, Any]
    correct: int | None = None
    n: int | None = None
    status: str = "finished"
    seconds: float | None = None
    uri: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Candidate:
    """One step of a greedy search, in order: the candidate's own held-out count, and that of the soup with it."""

    trial: int
    accepted: bool
    correct: int
    n: int
    soup_correct: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Stage:
    """A node of the DAG; `started` is seconds since the run began, `worker` where it ran, `attempts` how often it was started."""

    id: str
    label: str
    function: str
    state: State
    seconds: float | None = None
    inputs: tuple[str, ...] = ()
    host: str = ""
    worker: str = ""
    started: float | None = None
    attempts: int = 1


@dataclass(frozen=True)
class Winner:
    """The model that the run hands over, by its name in the table, and the code that loads it."""

    model: str
    uri: str = ""
    digest: str = ""
    load_code: str = ""


@dataclass(frozen=True)
class DataCard:
    """A source of examples; `skipped` are the unreadable ones, `name: reason`."""

    name: str
    n: int
    skipped: tuple[str, ...] = ()
    digest: str = ""


@dataclass(frozen=True)
class Failure:
    """What went wrong, why, and what to do."""

    stage: str
    cause: str
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Totals:
    """What the run cost; `failures` counts them by cause."""

    trials: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    hits: int = 0
    seconds: float | None = None
    cpu_seconds: float | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Shown:
    """A further result: its rows, and how they are drawn.

    percent: the columns that are shares. A column `x` stands with its interval where there are `x_low` and `x_high`, or with its standard
    error where there is `x_se`. draw: makes a figure of the rows, or None. latex: the table is written as LaTeX too.
    terminal: rows that a terminal shows.
    """

    name: str
    title: str
    caption: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    percent: tuple[str, ...] = ()
    draw: Callable[[Sequence[Row]], Any] | None = None
    latex: bool = False
    terminal: int = 24


@dataclass(frozen=True)
class Story:
    """The run as it is told: `table` are the rows of `tabulate`, whose differences are to the model named `baseline`."""

    study: str
    preset: str
    command: str
    task: str
    created: str
    table: tuple[Row, ...]
    splits: tuple[Split, ...]
    models: tuple[Model, ...]
    winner: Winner
    baseline: str
    trials: tuple[Trial, ...] = ()
    searched: tuple[Mapping[str, Any], ...] = ()  # trials of searches: number among `trials` or None, knobs, stopped, value
    search: tuple[Candidate, ...] = ()
    cosines: tuple[tuple[float, ...], ...] = ()  # between the trials' moves from their common start, in the order of `trials` that finished
    stages: tuple[Stage, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    data: tuple[DataCard, ...] = ()
    failures: tuple[Failure, ...] = ()
    totals: Totals = Totals()
    notes: tuple[str, ...] = ()
    noun: Noun = "shift"  # what the reported splits are that are averaged
    exhibits: tuple[Shown, ...] = ()
    advises: bool = False  # whether a recommendation is wanted

    @property
    def mean(self) -> str:
        """The split name of the averaged rows."""
        return f"mean of {self.noun}s"

    def row(self, model: str, split: str) -> Row | None:
        """The table's row of a model on a split, or None."""
        return next((row for row in self.table if row["model"] == model and row["split"] == split), None)

    @property
    def in_distribution(self) -> str | None:
        """The name of the first reported split that is no shift."""
        return next((split.name for split in self.splits if split.meaning == "reported" and not split.shift), None)

    @property
    def shifts(self) -> tuple[Split, ...]:
        """The reported splits that are out of distribution."""
        return tuple(split for split in self.splits if split.meaning == "reported" and split.shift)
