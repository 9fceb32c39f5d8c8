"""The vector space of checkpoints: `+ - *` fold into `{checkpoint: coefficient}`, and nothing is read until the result is used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

from components.types import File, in_order
from components.weights.coefficients import ONE, Rule, exact, rule
from components.weights.policy import Policy

if TYPE_CHECKING:
    import numpy as np

    from components.weights.agreement import Ingredient
    from components.weights.assembly import Assembly
    from components.weights.folder import Folder
    from components.weights.parts import Part

Term = tuple["Checkpoint", Rule]


class Vector:
    """What checkpoints and their combinations have in common. Immutable: every operation gives a new one."""

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: self.__dict__[each.name] for each in fields(self)}  # type: ignore[arg-type]  # not what was read for it

    def combination(self) -> Combination:
        """This vector as terms."""
        raise NotImplementedError

    @property
    def assembly(self) -> Assembly:
        """The compared headers and the plan; ValueError says why the ingredients cannot be combined."""
        raise NotImplementedError

    def __add__(self, other: Vector) -> Combination:
        if not isinstance(other, Vector):
            return NotImplemented
        left, right = self.combination(), other.combination()
        policy = _together(left.policy, right.policy)
        return Combination(_fold(left.terms + right.terms), policy, {**left.facts, **right.facts})

    def __radd__(self, other: Any) -> Vector:
        return self if isinstance(other, int) and other == 0 else NotImplemented  # sum(vectors) begins with 0

    def __mul__(self, weight: Any) -> Combination:
        """`weight`: a number, or an ordered mapping or list of (key pattern, number) of which the first match wins."""
        one, times = self.combination(), rule(weight)
        return replace(one, terms=tuple((checkpoint, old * times) for checkpoint, old in one.terms))

    def __rmul__(self, weight: Any) -> Combination:
        return self.__mul__(weight)

    def __neg__(self) -> Combination:
        return self * -1

    def __sub__(self, other: Vector) -> Combination:
        return self + other * -1

    def __truediv__(self, number: Any) -> Combination:
        return self * (1 / exact(number))

    def only(self, pattern: str | Sequence[str]) -> Combination:
        """The keys that match a glob, or one of several; the coefficient of the others is 0."""
        patterns = [pattern] if isinstance(pattern, str) else pattern
        return self * [(each, 1) for each in patterns]

    def with_head(self, other: Vector) -> Combination:
        """This model with the classifier, class names and prompts of `other`."""
        return self * [("head.*", 0), ("*", 1)] + other.only("head.*")

    def under(self, policy: Policy) -> Combination:
        """The same combination, evaluated under `policy`."""
        return replace(self.combination(), policy=policy)

    @property
    def spec(self) -> dict[str, Any]:
        """The specification (JSON): kind, model_cfg, preprocess_cfg, classes, prompts, ancestry, lineage, facts, and what else was said."""
        return self.assembly.spec

    @property
    def extras(self) -> Mapping[str, bytes]:
        """Side files that travel with the weights."""
        return self.assembly.extras

    @property
    def digest(self) -> str | None:
        """The identity of the weights, where it is known."""
        return None

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Stream the values; bfloat16 comes as the structured dtype `layout.BFLOAT16`."""
        return self.assembly.tensors()

    def save(self, url: str, map: Callable[..., Any] = in_order, progress: Callable[[int, int], None] | None = None) -> list[File]:
        """Write a checkpoint folder in one streamed pass.

        map: as `run.map`; the chunks of a large file then spread over nodes. progress: told (bytes done, bytes of tensors in all).
        """
        from components.weights.folder import write

        return write(url, self.assembly.ready(), map, progress)

    def verify(self) -> None:
        """DataError where an ingredient's bytes are not those that were recorded. Each file is read once in a process."""
        for part in self.assembly.parts():
            part.verify()

    def summary(self) -> dict[str, Any]:
        """What a record says of it: digest (None for a combination, which has one once it is saved), ancestry, lineage, facts ..."""
        spec = self.spec
        told = {key: spec.get(key) for key in ("name", "kind", "ancestry", "lineage", "facts")}
        return {"digest": self.digest, "classes": len(spec.get("classes") or ()), **told}

    @classmethod
    def load(cls, url: str) -> Checkpoint:
        """The checkpoint at a URL, checked against its record when it is first read."""
        return Checkpoint(url, check=True)


class Checkpoint(Vector):
    """A model specification and named tensors that lie at a URL, read when they are asked for; `of` makes one from arrays."""

    def __init__(self, url: str, check: bool = False) -> None:
        """check: compare all its bytes with the recorded digests, once in a process, before they are used."""
        self.url, self._check = url, check

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray], spec: Mapping[str, Any], extras: Mapping[str, bytes] | None = None) -> Checkpoint:
        """A checkpoint in memory. Where its specification names no `ancestry` it is its own ancestor."""
        from components.weights.folder import Folder, split
        from components.weights.parts import Memory

        label = f"{spec.get('name') or 'a model'} in memory"
        parts: dict[str, Part] = {role: Memory(named, label) for role, named in split(tensors).items()}
        return _made(Folder({"kind": "open_clip", **spec}, parts, {}), extras or {})

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "_check": self._check} if self.url else self.__dict__  # a handle, not what was read through it

    def __repr__(self) -> str:
        return f"Checkpoint({self.url!r})" if self.url else f"Checkpoint.of(<{', '.join(self.parts)}>)"

    def combination(self) -> Combination:
        return Combination(((self, ONE),))

    @property
    def key(self) -> Any:
        """Equal for two handles on one stored checkpoint."""
        return self.url or id(self)

    @cached_property
    def _folder(self) -> Folder:
        from components.weights.folder import read

        return read(self.url, self._check)

    @property
    def parts(self) -> Mapping[str, Part]:
        """Its files of tensors by role: model, head, objective."""
        return self._folder.parts

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The specification (JSON). The ancestor of a checkpoint that names none is itself."""
        spec, model = self._folder.spec, self.parts.get("model")
        return {**spec, "ancestry": spec.get("ancestry") or (model.digest if model else None)}

    @cached_property
    def extras(self) -> Mapping[str, bytes]:
        from components.weights.folder import side_files

        return side_files(self.url, self._folder.side)

    @cached_property
    def digest(self) -> str:
        """The identity of the weights: the sha256 of its files' digests. Nothing is read where they are recorded."""
        return hashlib.sha256("\n".join(f"{role} {part.digest}" for role, part in self.parts.items()).encode()).hexdigest()

    @cached_property
    def assembly(self) -> Assembly:
        from components.weights.assembly import Assembly
        from components.weights.plan import copy

        return Assembly(self._folder.spec, {role: copy(part) for role, part in self.parts.items()}, self.extras)

    def with_spec(self, **changes: Any) -> Checkpoint:
        """The same tensors under a specification of which some fields are replaced."""
        return _made(replace(self._folder, spec={**self._folder.spec, **changes}), self.extras)

    def describe(self, **facts: Any) -> Checkpoint:
        """The same checkpoint with more facts."""
        return self.with_spec(facts={**(self._folder.spec.get("facts") or {}), **facts})


def _made(folder: Folder, extras: Mapping[str, bytes]) -> Checkpoint:
    one = Checkpoint("")
    one.__dict__.update(_folder=folder, extras=dict(extras))
    return one


@dataclass(frozen=True, eq=False, repr=False)
class Combination(Vector):
    """A linear combination of stored checkpoints, evaluated when it is saved, streamed or built. terms: in the order first named."""

    terms: tuple[Term, ...]
    policy: Policy = field(default_factory=Policy)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        told = [f"{weight.to_json() if weight.plain else '(by key)'} {one}" for one, weight in self.terms[:3]]
        return f"Combination({' + '.join(told)}{f' and {len(self.terms) - 3} more' if len(self.terms) > 3 else ''})"

    def combination(self) -> Combination:
        return self

    def describe(self, **facts: Any) -> Combination:
        """The same weights with more facts (JSON) that are saved with them."""
        return replace(self, facts={**self.facts, **facts})

    @cached_property
    def assembly(self) -> Assembly:
        from components.weights.assembly import assemble

        return assemble(ingredients(self.terms), self.policy, self.facts)


def ingredients(terms: Sequence[Term]) -> list[Ingredient]:
    """The terms as the engine sees them."""
    from components.weights.agreement import Ingredient

    names = [str(checkpoint.spec.get("name") or "") for checkpoint, _ in terms]
    if len(set(names)) < len(names) or not all(names):  # names that do not tell them apart
        names = [one.url or name or "a model in memory" for (one, _), name in zip(terms, names, strict=True)]
    return [
        Ingredient(name, weight, one.parts, one.spec, one.extras, one.digest) for name, (one, weight) in zip(names, terms, strict=True)
    ]


def _fold(terms: Sequence[Term]) -> tuple[Term, ...]:
    folded: dict[Any, Term] = {}
    for checkpoint, weight in terms:
        known = folded.get(checkpoint.key)
        kept = known[0] if known and not checkpoint._check else checkpoint  # one handle that is to be checked is enough
        folded[checkpoint.key] = (kept, known[1] + weight) if known else (checkpoint, weight)
    return tuple(folded.values())


def _together(one: Policy, other: Policy) -> Policy:
    if Policy() in (one, other) or one == other:
        return other if one == Policy() else one
    raise ValueError(f"two policies in one combination, {one} and {other}: say the one that holds with .under(policy)")


def mean(vectors: Sequence[Vector], policy: Policy | None = None) -> Combination:
    """The uniform average of checkpoints or combinations, exactly 1/n each."""
    if not vectors:
        raise ValueError("the mean of no checkpoints: give at least one")
    parts = [vector.combination() for vector in vectors]
    facts = {key: value for part in parts for key, value in part.facts.items()}
    together = policy or reduce(_together, (part.policy for part in parts))
    return Combination(_fold([term for part in parts for term in part.terms]), together, facts) * Fraction(1, len(vectors))
