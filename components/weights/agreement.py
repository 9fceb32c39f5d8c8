"""May these checkpoints be averaged? Decided from headers and specifications, before a weight is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from components.weights.coefficients import Rule
from components.weights.layout import AVERAGED, DTYPES, Layout, raw_bytes, some, widen
from components.weights.parts import Part
from components.weights.policy import Policy

MODEL, HEAD, OBJECTIVE = "model", "head", "objective"
SAMPLED = 1 << 18


@dataclass
class Ingredient:
    """A checkpoint as the engine sees it: its coefficient rule, its files of tensors by role, and its opaque specification."""

    name: str
    rule: Rule
    parts: Mapping[str, Part]
    spec: Mapping[str, Any]
    extras: Mapping[str, bytes]
    identity: str
    _at: dict[str, Fraction] = field(default_factory=dict)

    def at(self, key: str) -> Fraction:
        """The coefficient of a key."""
        key = "" if self.rule.plain else key
        if key not in self._at:
            self._at[key] = self.rule.at(key)
        return self._at[key]

    def layout(self, role: str) -> Layout:
        """The keys of a role; none where the checkpoint has no such file."""
        return self.parts[role].layout if role in self.parts else {}

    def gives(self, role: str) -> bool:
        """Whether any of its tensors in this role has a coefficient other than 0."""
        return any(self.at(key) for key in self.layout(role))


def agree(ingredients: Sequence[Ingredient], policy: Policy) -> None:
    """ValueError, in one line with the remedy, where the ingredients cannot be combined key by key."""
    for role in (MODEL, HEAD, OBJECTIVE):
        _keys(ingredients, role)
        _ancestry(ingredients, role, policy)
    givers = [one for one in ingredients if one.gives(MODEL)]
    for other in givers[1:]:
        _specification(givers[0], other, policy)
    heads = [one for one in ingredients if one.gives(HEAD)]
    for other in heads[1:]:
        for what in ("classes", "prompts"):
            here, there = heads[0].spec.get(what), other.spec.get(what)
            if here != there:
                told = f"{what} of their heads differ{_where(here, there)}"
                raise ValueError(f"{_pair(heads[0], other)}: {told}; take one head by .with_head(model)")


def _pair(one: Ingredient, other: Ingredient) -> str:
    return f"cannot average {one.name} with {other.name}"


def _where(here: Any, there: Any) -> str:
    if isinstance(here, Sequence) and isinstance(there, Sequence):
        if len(here) != len(there):
            return f": {len(here)} and {len(there)}"
        at = next(i for i, (a, b) in enumerate(zip(here, there, strict=True)) if a != b)
        return f", e.g. number {at} is {here[at]!r} and {there[at]!r}"
    return f": {here!r} and {there!r}"


def _keys(ingredients: Sequence[Ingredient], role: str) -> None:
    """Names, shapes and kinds of dtype, among the ingredients whose coefficient at the key is not 0."""
    lacks: dict[int, list[str]] = {}
    holder: dict[str, int] = {}
    for i, one in enumerate(ingredients):
        for key in one.layout(role):
            if one.at(key):
                holder.setdefault(key, i)
    for key, i in holder.items():
        one, here = ingredients[i], ingredients[i].layout(role)[key]
        for j, other in enumerate(ingredients):
            there = other.layout(role).get(key)
            if j == i or not other.at(key):
                continue
            if there is None:
                lacks.setdefault(j, []).append(key)
            elif there.shape != here.shape:
                remedy = "; average the towers alone with .only('visual.*')" if role == HEAD else ""
                raise ValueError(f"{_pair(one, other)}: shapes of {key} differ, {list(here.shape)} and {list(there.shape)}{remedy}")
            elif there.dtype != here.dtype and not {there.dtype, here.dtype} <= set(AVERAGED):
                raise ValueError(f"{_pair(one, other)}: dtypes of {key} differ, {here.dtype} and {there.dtype}; convert one of them")
    if lacks:
        j, missing = next(iter(lacks.items()))
        one, other = ingredients[holder[missing[0]]], ingredients[j]
        extra = [key for key in other.layout(role) if other.at(key) and one.at(key) and key not in one.layout(role)]
        listed = "; ".join(f"{who.name} lacks {some(keys)}" for who, keys in ((other, missing), (one, extra)) if keys)
        raise ValueError(f"{_pair(one, other)}: parameter names differ, e.g. {missing[0]}; {listed}; choose common keys by .only(pattern)")


def _ancestry(ingredients: Sequence[Ingredient], role: str, policy: Policy) -> None:
    if policy.unlike_ancestry or len({one.spec.get("ancestry") for one in ingredients}) < 2:
        return
    first: dict[str, Ingredient] = {}
    for one in ingredients:
        for key in one.layout(role):
            if one.at(key):
                other = first.setdefault(key, one)
                if other.spec.get("ancestry") != one.spec.get("ancestry"):
                    told = " and ".join(str(x.spec.get("ancestry"))[:20] for x in (other, one))
                    raise ValueError(
                        f"{_pair(other, one)}: their ancestors differ ({told}; {_distance(other, one, role)}); "
                        "import each with --ancestor where they share one, or proceed with --unlike-ancestry"
                    )


def _distance(one: Ingredient, other: Ingredient, role: str) -> str:
    """How far apart they lie, from the first values of their largest common tensor."""
    here, there = one.layout(role), other.layout(role)
    key = max((key for key in here if key in there and one.at(key) and other.at(key)), key=lambda key: here[key].count)
    values = []
    for part, entry in ((one.parts[role], here[key]), (other.parts[role], there[key])):
        count = min(entry.count, SAMPLED)
        raw = np.empty(count, DTYPES[entry.dtype])
        part.reader().read(entry.start, raw_bytes(raw))
        values.append(widen(raw).astype(np.float64) if entry.dtype in AVERAGED else np.zeros(count))
    norm = float(np.linalg.norm(values[0]))
    return f"relative distance of {key} {float(np.linalg.norm(values[0] - values[1])) / norm if norm else 0.0:.3g}"


def _specification(one: Ingredient, other: Ingredient, policy: Policy) -> None:
    fields = [("kind", "compare like with like"), ("model_cfg", "average models of one configuration")]
    if not policy.unlike_preprocess:
        fields.append(("preprocess_cfg", "fine-tune them alike, or proceed with --unlike-preprocess"))
    for what, remedy in fields:
        here, there = _said(one.spec.get(what)), _said(other.spec.get(what))
        if here != there:
            raise ValueError(f"{_pair(one, other)}: {what} differs, {_difference(here, there)}; {remedy}")
    for name in {**one.extras, **other.extras}:
        if one.extras.get(name) != other.extras.get(name):
            raise ValueError(f"{_pair(one, other)}: their {name} differ; average models of one vocabulary")


def _said(value: Any) -> Any:
    """A configuration without what only repeats a default (`quick_gelu: false`)."""
    if isinstance(value, Mapping):
        return {key: _said(item) for key, item in value.items() if item is not None and item is not False}
    return list(value) if isinstance(value, tuple) else value


def _difference(here: Any, there: Any, path: str = "") -> str:
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        key = next(key for key in {**here, **there} if here.get(key) != there.get(key))
        return _difference(here.get(key), there.get(key), f"{path}.{key}".lstrip("."))
    return f"e.g. {path} is {here!r} and {there!r}" if path else f"{here!r} and {there!r}"
