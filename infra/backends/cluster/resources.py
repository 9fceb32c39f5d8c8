"""What a node asks of Ray, and what a cluster has for it: now, and once it has grown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from infra.backends.cluster.growth import Kind, growth, machines
from infra.node import Resources

MOST = 8  # items that a component should have under way: what it tries ahead may turn out to be in vain
UNITS = {"memory": (1e9, "GB memory")}
Options = Mapping[str, Any]  # of a Ray task


def needs(on: Resources) -> dict[str, Any]:
    """Ray's options for a node, or for one of its workers."""
    options: dict[str, Any] = {"num_cpus": on.cpus, "num_gpus": on.gpus}
    if on.memory:
        options["memory"] = on.memory
    if on.accelerator:
        options["accelerator_type"] = on.accelerator
    return options


def bundle(options: Options) -> dict[str, float]:
    """The same as resources by Ray's names, for Tune, for Train and to compare with what machines have."""
    named = {"CPU": options["num_cpus"], "GPU": options["num_gpus"], "memory": options.get("memory", 0)}
    if kind := options.get("accelerator_type"):
        named[f"accelerator_type:{kind}"] = 0.001
    return {name: wanted for name, wanted in named.items() if wanted}


def at_once(options: Options, have: Mapping[str, float]) -> int:
    """How many tasks with these resources the cluster can run at the same time, from 1 to MOST."""
    return int(max(1, min([MOST, *(have.get(name, 0.0) / wanted for name, wanted in bundle(options).items())])))


def room(wanted: Mapping[str, float], kinds: Sequence[Kind]) -> float:
    """How many such bundles fit on the machines, each on one of them."""
    return sum(count * min([math.inf, *(math.floor(has.get(name, 0.0) / amount) for name, amount in wanted.items())]) for has, count in kinds)


def amount(name: str, value: float) -> str:
    """8 GPU, 16 GB memory, an L4."""
    if name.startswith("accelerator_type:"):
        return f"{'' if value else 'no '}accelerator {name.partition(':')[2]}"
    return f"{value / 1e9:g} GB memory" if name == "memory" else f"{value:g} {name}"


def lacks(wanted: Mapping[str, float], workers: int, kinds: Sequence[Kind]) -> tuple[str, str]:
    """(what so many bundles need, what the machines have of it) where they do not fit; ("", "") where they do."""
    if (places := room(wanted, kinds)) >= workers:
        return "", ""
    for name, value in sorted(wanted.items(), key=lambda item: item[0] != "GPU"):  # of several that lack, this is the one that matters
        largest, total = max((has.get(name, 0.0) for has, count in kinds if count), default=0.0), totals(kinds).get(name, 0.0)
        if value > largest and total > largest:
            return f"{amount(name, value)} on one node", f"at most {amount(name, largest)} on one ({amount(name, total)} in all)"
        if value > largest:
            return amount(name, value), amount(name, largest)
    bundle = " and ".join(amount(name, value) for name, value in wanted.items())
    if not places:
        return f"{bundle} on one node", "no node with all of it"
    return f"{workers} workers with {bundle} each", f"room for {places:g}"


@dataclass
class Capacity:
    """What the cluster had when it was last looked at, and what it can grow to."""

    local: bool = False
    nodes: Sequence[Kind] = ()
    growth: Sequence[Kind] | None = None  # what its autoscaler may start; None where there is none, or where it does not tell
    grows: bool = False

    def explore(self) -> None:
        """Ask Ray, and where its head is, once."""
        self.look()
        if not self.local:
            self.growth, self.grows = growth()

    def look(self) -> None:
        """Ask Ray."""
        self.nodes = [(node["Resources"], 1) for node in machines()]

    @property
    def empty(self) -> bool:
        """Whether no machine is there to work yet, nor will be because work waits."""
        return not self.grows and not self.local and not self.have.get("CPU")

    @property
    def have(self) -> Mapping[str, float]:
        """All machines together."""
        return totals(self.nodes)

    def facts(self) -> dict[str, float]:
        """For the driver."""
        have, reach = self.have, self.reach
        return {"cpus": have.get("CPU", 0), "gpus": have.get("GPU", 0), "most_cpus": reach.get("CPU", 0), "most_gpus": reach.get("GPU", 0)}

    @property
    def possible(self) -> Sequence[Kind]:
        """The machines once the cluster has grown."""
        return [*(kind for kind in self.nodes if "node:__internal_head__" in kind[0]), *self.growth] if self.growth else self.nodes

    @property
    def reach(self) -> Mapping[str, float]:
        """All machines together, once the cluster has grown."""
        have, possible = self.have, totals(self.possible)
        return {name: max(have.get(name, 0.0), possible.get(name, 0.0)) for name in {**have, **possible}}

    def settled(self, on: Resources) -> Resources:
        """The resources that a node gets here: an inexact accelerator falls back to CPUs where there can be none."""
        return on if on.exact or not on.gpus or self.reach.get("GPU") else replace(on, gpus=0, accelerator="")

    def groups(self, on: Resources) -> int:
        """How many jobs of several workers may be driven at once, for a driver holds nothing; 0 for jobs of one, which hold what they need."""
        return 0 if on.workers == 1 else int(max(1, *(room(bundle(needs(on)), kinds) // on.workers for kinds in (self.nodes, self.possible))))

    def refusal(self, on: Resources) -> str:
        """Why a node can never run here, in a line; "" where it can, or could."""
        wanted, there = self._lacks(on, self.nodes)
        if wanted and self.grows:
            wanted, there = self._lacks(on, self.possible) if self.growth else ("", "")
        has = "this machine has" if self.local else "the cluster can grow to" if self.grows else "the cluster has"
        return f"needs {wanted}, {has} {there}; ask for less (--on){' or give --ray ADDRESS' if self.local else ''}" if wanted else ""

    def pending(self, on: Resources) -> str:
        """What a node waits for that no machine has at the moment, in a line."""
        wanted, there = self._lacks(on, self.nodes)
        grows = "its autoscaler does not tell how far it grows" if self.grows else "it goes on once more have joined"
        return f"needs {wanted}, the cluster has {there}; {f'it can grow to {self._most(on)}' if self.growth else grows}" if wanted else ""

    def _lacks(self, on: Resources, kinds: Sequence[Kind]) -> tuple[str, str]:
        return lacks(bundle(needs(on)), on.workers, kinds)

    def _most(self, on: Resources) -> str:
        most = totals(self.possible)
        return " and ".join(amount(name, most.get(name, 0.0)) for name in bundle(needs(on)) if ":" not in name)


def totals(kinds: Sequence[Kind]) -> dict[str, float]:
    """What all machines have together."""
    found: dict[str, float] = {}
    for has, count in kinds:
        for name, value in has.items():
            found[name] = found.get(name, 0.0) + value * count
    return found
