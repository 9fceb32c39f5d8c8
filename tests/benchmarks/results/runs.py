"""The runs behind the results: five seeds split over three base models, every study with each; what is in the store is not run again."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from typing import Any

from components.models.openclip import OpenClip
from components.weights.digests import digests_of
from infra.dag import Fingerprints, Plan
from infra.store import Store
from infra.store.pins import Pins
from tests.benchmarks.results.told import Told

STUDIES = ("soup", "wise_ft", "arithmetic", "patch", "recycle", "compare")
MORE: dict[str, list[str]] = {"recycle": ["--hold_out", "4"]}  # beyond the tiny preset
SEEDS = {0: (1, 2), 1: (3, 4), 2: (5,)}  # base: its seeds; base 0 is the shipped one, and seed 0 was seen while all this was built


def command(words: list[str], store: str) -> None:
    print("$ stockpot " + " ".join(words), flush=True)
    done = subprocess.run([sys.executable, "-m", "pipelines", *words, "--store", store])
    if done.returncode not in (0, 3):  # 3: an exhibit failed, and the rest stands
        sys.exit(f"stockpot {' '.join(words)} ended with {done.returncode}: the same command goes on from here")


def planned(name: str, preset: str = "tiny", **fields: Any) -> Plan:
    """The plan of a study."""
    plan: Plan = replace(importlib.import_module(f"pipelines.{name}").PRESETS[preset], **fields).plan()
    return plan


def keys(plan: Plan, store: Store) -> Fingerprints:
    return Fingerprints(Pins(store.place, digests_of).of(plan))


def base(number: int, store: str) -> OpenClip:
    """A base model: the shipped one, or one that is pretrained here from another initialisation and another order of the same images."""
    if number == 0:
        return OpenClip("stockpot-tiny")
    command(["run", "pretrain", "tiny", "--seed", str(number), "--update.seed", str(number)], store)
    tiny = importlib.import_module("pipelines.pretrain").PRESETS["tiny"]
    plan, there = planned("pretrain", seed=number, update=replace(tiny.update, seed=number)), Store(store)
    node = plan.about.node("pretrained").arguments["model"]  # below the zero-shot head
    return OpenClip(there.payload(there.finished(keys(plan, there).key(node))))


def fields(name: str, seed: int, model: OpenClip) -> dict[str, Any]:
    more = {flag.removeprefix("--"): int(value) for flag, value in zip(MORE.get(name, [])[::2], MORE.get(name, [])[1::2], strict=True)}
    return {"seed": seed, "model": model, **more}


def told(name: str, seed: int, model: OpenClip, store: str) -> Told:
    """What a run recorded."""
    plan, there = planned(name, **fields(name, seed, model)), Store(store)
    prints = keys(plan, there)
    found = {target: there.load(prints.key(node)) for target, node in plan.targets.items() if there.record(prints.key(node))}
    tables = {target: table.rows for target, table in found.items() if hasattr(table, "rows")}
    main = tuple(candidate.name for candidate in plan.about.candidates if candidate.main)
    return Told(tables, plan.about.on.here, f"mean of {plan.about.on.noun}s", main)


def all_runs(store: str, studies: tuple[str, ...] = STUDIES) -> dict[str, list[Told]]:
    """{study: what it told with each seed}, computed where it is missing."""
    bases = {number: base(number, store) for number in SEEDS}
    found: dict[str, list[Told]] = {name: [] for name in studies}
    for number, seeds in SEEDS.items():
        for seed in seeds:
            for name in studies:
                command(["run", name, "tiny", "--seed", str(seed), "--model.name", bases[number].name, *MORE.get(name, [])], store)
                found[name].append(told(name, seed, bases[number], store))
    return found
