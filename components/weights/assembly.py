"""From ingredients that agree to a checkpoint about to be: its plans, its specification and its lineage."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.weights.agreement import HEAD, MODEL, OBJECTIVE, Ingredient, agree
from components.weights.coefficients import Rule
from components.weights.engine import Plan, plan, stream
from components.weights.layout import DTYPES, raw_bytes
from components.weights.policy import Policy

OWN = ("classes", "prompts", "ancestry", "lineage", "facts")  # decided below; what else all agree on travels


@dataclass
class Assembly:
    """A checkpoint about to be: its specification, a plan for each file of tensors, and the side files."""

    spec: dict[str, Any]
    plans: Mapping[str, Plan]
    extras: Mapping[str, bytes]

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each tensor once, in the order of the files; bfloat16 as `layout.BFLOAT16`."""
        for each in self.plans.values():
            for key, array in _cut(each, None):
                yield key, array.reshape(each.layout[key].shape)

    def pieces(self, most: int = 1 << 16) -> Iterator[tuple[str, np.ndarray]]:
        """The same values in order, as flat arrays of at most `most`: models of one layout are cut alike."""
        for each in self.plans.values():
            yield from _cut(each, most)


def _cut(plan: Plan, most: int | None) -> Iterator[tuple[str, np.ndarray]]:
    """The plan's slabs, cut at the bounds of tensors and after every `most` values."""
    slabs, rest = stream(plan), memoryview(b"")
    for key, entry in plan.layout.items():
        for low in range(0, max(1, entry.count), most or max(1, entry.count)):
            array = np.empty(min(entry.count - low, most or entry.count), DTYPES[entry.dtype])
            target = raw_bytes(array)
            while target:
                rest = rest or next(slabs)
                count = min(len(rest), len(target))
                target[:count] = rest[:count]
                target, rest = target[count:], rest[count:]
            yield key, array
    next(slabs, None)  # the check against the records comes after the last byte


def assemble(ingredients: Sequence[Ingredient], policy: Policy, facts: Mapping[str, Any]) -> Assembly:
    """Compare, then plan. ValueError in one line where the ingredients cannot be combined, or where nothing remains of them."""
    agree(ingredients, policy)
    plans = {role: found for role in (MODEL, HEAD, OBJECTIVE) if (found := plan(ingredients, role, policy)).layout}
    if not plans:
        raise ValueError("nothing remains of this combination: every coefficient is 0; give at least one ingredient a weight")
    givers = [one for one in ingredients if one.gives(MODEL)] or [one for one in ingredients if any(one.gives(role) for role in plans)]
    spec = {key: value for key, value in _common(givers).items() if key not in OWN}
    heads = [one for one in ingredients if one.gives(HEAD)] or givers
    spec |= {key: value for key, value in _common(heads).items() if key in ("classes", "prompts")}
    leaves = lineage(ingredients)
    spec["lineage"] = {"leaves": leaves, "keys": _report(plans)}
    ancestors = {one.spec.get("ancestry") for one in givers}
    spec["ancestry"] = ancestors.pop() if len(ancestors) == 1 else f"recipe-{_digest(leaves)}"
    spec["facts"] = dict(facts)
    extras = {name: content for one in givers for name, content in one.extras.items()}
    return Assembly(spec, plans, extras)


def _common(ingredients: Sequence[Ingredient]) -> dict[str, Any]:
    """The fields on which all agree, and the first's of those that had to agree and differ by permission."""
    first = ingredients[0].spec
    permitted = ("kind", "model_cfg", "preprocess_cfg")
    return {key: value for key, value in first.items() if key in permitted or all(one.spec.get(key) == value for one in ingredients)}


def lineage(ingredients: Sequence[Ingredient]) -> list[dict[str, Any]]:
    """The leaves [{digest, weight, name?}], flattened through ingredients that are combinations themselves, in the order of digests."""
    leaves: dict[str, tuple[Rule, Any]] = {}
    for one in ingredients:
        below = (one.spec.get("lineage") or {}).get("leaves") or [{"digest": one.identity, "weight": "1", "name": one.spec.get("name")}]
        for leaf in below:
            weight = one.rule * Rule.from_json(leaf["weight"])
            if leaf["digest"] in leaves:
                weight += leaves[leaf["digest"]][0]
            leaves[leaf["digest"]] = (weight, leaf.get("name"))
    listed = []
    for digest in sorted(leaves):
        weight, name = leaves[digest]
        if weight.terms:
            listed.append({"digest": digest, "weight": weight.to_json()} | ({"name": name} if name else {}))
    return listed


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _report(plans: Mapping[str, Plan]) -> dict[str, Any]:
    """How many keys were averaged and copied; by name those whose rule is worth knowing."""
    total: dict[str, list[str]] = {}
    for each in plans.values():
        for what, keys in each.report.items():
            total.setdefault(what, []).extend(keys)
    if total.get("mixed"):
        warnings.warn(f"{len(total['mixed'])} tensors have mixed dtypes, e.g. {total['mixed'][0]}: their mean is float32", stacklevel=2)
    counts = {what: len(keys) for what, keys in total.items() if what in ("averaged", "copied")}
    return counts | {what: sorted(keys) for what, keys in total.items() if keys and what not in counts}
