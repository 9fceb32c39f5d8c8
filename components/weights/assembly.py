"""From ingredients that agree to a checkpoint about to be: its plans, its specification and its lineage."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from components.weights import engine
from components.weights import plan as planning
from components.weights.agreement import HEAD, MODEL, OBJECTIVE, Ingredient, agree
from components.weights.coefficients import Rule
from components.weights.engine import Evaluator, Slab, opened
from components.weights.layout import DTYPES, raw_bytes, widen
from components.weights.parts import Part
from components.weights.plan import Plan
from components.weights.policy import Policy
from components.weights.scan import Scan

if TYPE_CHECKING:
    from components.weights.blend import Method

PART = 1 << 22  # values of a module's parameter that one thread fills at once

OWN = ("classes", "prompts", "ancestry", "lineage", "facts")  # decided below; what else all agree on travels


@dataclass
class Assembly:
    """A checkpoint about to be: its specification, a plan for each file of tensors, and the side files."""

    spec: dict[str, Any]
    plans: Mapping[str, Plan]
    extras: Mapping[str, bytes]
    method: Method | None = None  # until its statistics are gathered
    order: tuple[int, ...] = ()  # of its values, as indices into what it was given

    def parts(self) -> list[Part]:
        """The files that it is made of; also those that need not be read because another one's record has the same digest."""
        used = [plan.sources[i] for plan in self.plans.values() for i in plan.used]
        return [part for source in used for part in (source.part, *source.same)]

    def ready(self) -> Assembly:
        """Check the ingredients that are to be checked against their records, and gather a method's statistics; both once."""
        for part in self.parts():
            if part.check:
                part.verify()
        if self.method is not None:
            prepared, self.method = self.method.prepare(Scan(list(self.plans.values()), self.order)), None
            for plan in self.plans.values():
                plan.prepared = prepared
        return self

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Each tensor once, in the order of the files; bfloat16 as `layout.BFLOAT16`."""
        for plan in self.ready().plans.values():
            with opened(plan) as readers:
                evaluator = Evaluator(plan, readers)
                evaluator.expect(slab for entry in plan.layout.values() for slab in evaluator.slabs(entry.start, entry.stop))
                for key, entry in plan.layout.items():
                    array = np.empty(entry.count, DTYPES[entry.dtype])
                    evaluator.fill(entry.start, raw_bytes(array))
                    yield key, array.reshape(entry.shape)

    def into(self, targets: Mapping[str, np.ndarray]) -> None:
        """Evaluate every tensor straight into the array of its key, by all cores: float32, contiguous, of the tensor's shape."""
        for plan in self.ready().plans.values():
            keys = [(key, low) for key, entry in plan.layout.items() for low in range(0, max(1, entry.count), PART)]
            small = sum(entry.count for entry in plan.layout.values()) <= PART
            for _ in engine.each(plan, partial(_filler, plan, targets), keys, partial(_slabs, plan), 1 if small else 0):
                pass


def _slabs(plan: Plan, evaluator: Evaluator, item: tuple[str, int]) -> Iterable[Slab]:
    """What an item of `_filler` asks for."""
    key, low = item
    entry, width = plan.layout[key], DTYPES[plan.layout[key].dtype].itemsize
    return evaluator.slabs(entry.start + low * width, min(entry.start + (low + PART) * width, entry.stop))


def _filler(plan: Plan, targets: Mapping[str, np.ndarray], evaluator: Evaluator) -> Callable[[tuple[str, int]], None]:
    def fill(item: tuple[str, int]) -> None:
        key, low = item
        entry, dtype = plan.layout[key], DTYPES[plan.layout[key].dtype]
        assert targets[key].flags.c_contiguous, "a copy would be filled"
        target = targets[key].reshape(-1)[low : low + PART]
        direct = target.dtype == dtype
        array = target if direct else np.empty(len(target), dtype)
        evaluator.fill(entry.start + low * dtype.itemsize, raw_bytes(array))
        if not direct:
            target[...] = widen(array)

    return fill


def assemble(ingredients: Sequence[Ingredient], policy: Policy, facts: Mapping[str, Any], method: Method | None = None) -> Assembly:
    """Compare, then plan. ValueError in one line where the ingredients cannot be combined, or where nothing remains of them."""
    agree(ingredients, policy)
    plans = {role: found for role in (MODEL, HEAD, OBJECTIVE) if (found := planning.plan(ingredients, role, policy, method)).layout}
    if not plans:
        raise ValueError("nothing remains of this combination: every coefficient is 0; give at least one ingredient a weight")
    givers = [one for one in ingredients if one.gives(MODEL)] or [one for one in ingredients if any(one.gives(role) for role in plans)]
    spec = {key: value for key, value in _common(givers).items() if key not in OWN}
    heads = [one for one in ingredients if one.gives(HEAD)] or givers
    spec |= {key: value for key, value in _common(heads).items() if key in ("classes", "prompts")}
    leaves: Any = [] if method else lineage(ingredients)
    spec["lineage"] = {"leaves": leaves, "keys": _report(plans)}
    if method:  # later combinations take it as a leaf of its own
        spec["lineage"] |= {"method": repr(method), "operands": [one.identity for one in ingredients]}
    ancestors = {one.spec.get("ancestry") for one in givers}
    spec["ancestry"] = ancestors.pop() if len(ancestors) == 1 else f"recipe-{_digest(spec['lineage'])}"
    spec["facts"] = dict(facts)
    extras = {name: content for one in givers for name, content in one.extras.items()}
    return Assembly(spec, plans, extras, method)


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
