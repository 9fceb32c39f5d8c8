"""What a run would cost: node-hours by kind of node, bytes read and written, and money, at the prices that a YAML file holds.

    gpu: 3.06                       an hour of a node with one accelerator
    cpu: {price: 0.192, stages: 4}  a node on which four stages, of one CPU each, run at once
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra import settings
from infra.node import Resources
from pipelines.commands.fields import loaded, near
from pipelines.commands.text import counted, size

KINDS = ("gpu", "cpu")
NAMED = 6  # functions named in a line
EXAMPLE = "write lines like gpu: 3.06, or cpu: {price: 0.192, stages: 4}"


@dataclass(frozen=True)
class Rate:
    """A kind of node: the price of an hour, and how many stages of one accelerator, or of one CPU, run on it at once."""

    price: float
    stages: float = 1


Prices = Mapping[str, Rate]


def prices(name: str) -> Prices:
    """The rates in a file, or in the one that the settings name; empty where there is neither. ValueError for what is no such file."""
    where = f"--prices {name}" if name else f"STOCKPOT_PRICES={settings.default_prices()}"
    if not (name := name or settings.default_prices()):
        return {}
    try:
        tree = loaded(Path(name).read_text(), where)
    except OSError as error:
        raise ValueError(f"{where}: {error.strerror or error}; check the path") from None
    except UnicodeDecodeError:
        raise ValueError(f"{where}: not YAML: it is not text") from None
    if not isinstance(tree, dict) or not tree:
        raise ValueError(f"{where}: holds no prices; {EXAMPLE}")
    return {kind: rate(kind, value, where) for kind, value in tree.items()}


def rate(kind: Any, value: Any, where: str) -> Rate:
    """One line of the file."""
    if kind not in KINDS:
        raise ValueError(f"{where}: {kind!r} is no kind of node{near(str(kind), KINDS)}; there are {' and '.join(KINDS)}")
    parts = value if isinstance(value, dict) else {"price": value}
    numbers = all(isinstance(part, int | float) and not isinstance(part, bool) and math.isfinite(part) for part in parts.values())
    if not {"price"} <= set(parts) <= {"price", "stages"} or not numbers or parts["price"] < 0 or parts.get("stages", 1) <= 0:
        raise ValueError(f"{where}: {kind}: {value!r} is no price of an hour; {EXAMPLE}")
    return Rate(**parts)


@dataclass
class Cost:
    """What the stages that are to run take together. hours: of whole nodes. unknown: stages whose time no record tells, by function; not counted."""

    rates: Prices = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=dict)
    read: int = 0
    written: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    hosts: dict[str, None] = field(default_factory=dict)  # where the stages ran whose times these are

    def add(self, function: str, on: Resources, seconds: float | None, hosts: Iterable[str]) -> None:
        """One stage more."""
        if seconds is None:
            self.unknown[function] += 1
            return
        kind = self.kind(on)
        share = on.workers * (on.gpus if kind == "gpu" else on.cpus) / self.rates.get(kind, Rate(0)).stages
        self.hours[kind] = self.hours.get(kind, 0.0) + seconds * share / 3600
        self.hosts |= dict.fromkeys(hosts)

    def kind(self, on: Resources) -> str:
        """The kind of node that a stage holds; one that may fall back to CPUs does so where accelerators have no price."""
        return "gpu" if on.gpus and (on.exact or not self.rates or "gpu" in self.rates) else "cpu"

    @property
    def money(self) -> float | None:
        """At the prices; None without any. ValueError where a kind of node that is needed has none."""
        if not self.rates:
            return None
        if without := [kind for kind in self.hours if kind not in self.rates]:
            raise ValueError(f"the prices have none for {without[0]}, which this plan needs; add a line like {without[0]}: 0.19")
        return sum(hours * self.rates[kind].price for kind, hours in self.hours.items())

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        told = {"hours": self.hours, "read": self.read, "written": self.written, "money": self.money}
        return {**told, "unknown": dict(self.unknown), "hosts": list(self.hosts)}


def number(value: float) -> str:
    """0.0017, 0.25, 12.50, 1,200.00."""
    return f"{value:.2g}" if value < 1 else f"{value:,.2f}"


def amount(facts: Mapping[str, Any]) -> str:
    """Node-hours and money, in a few words."""
    parts = [f"{number(facts['hours'][kind])} {kind} node-hours" for kind in KINDS if kind in facts["hours"]]
    return ", ".join(parts or ["no node-hours"]) + ("" if facts["money"] is None else f", {number(facts['money'])} at the prices given")


def told(facts: Mapping[str, Any]) -> list[str]:
    """The cost for a person."""
    least = "at least " if facts["unknown"] else ""
    lines = [f"cost: {least}{amount(facts)}; reads {least}{size(facts['read'])}, writes {least}{size(facts['written'])}"] if facts["hours"] else []
    if facts["unknown"]:
        lines.append(f"cost not known, for want of records of like stages: {unknown(facts['unknown'])}; --calibrate measures what few steps can tell")
    if facts["hosts"]:
        lines.append(f"times are those of like stages on {', '.join(facts['hosts'])}; another kind of machine takes another time")
    return lines


def unknown(stages: Mapping[str, int]) -> str:
    """train (72), predict (400) and 3 other kinds."""
    listed = ", ".join(f"{function} ({count})" for function, count in list(stages.items())[:NAMED])
    return listed + (f" and {counted(len(stages) - NAMED, 'other kind')}" if len(stages) > NAMED else "")
