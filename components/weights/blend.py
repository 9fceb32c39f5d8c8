"""Rules that are not one linear combination, on the same engine: statistics gathered in one pass, values combined in another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from components.weights.coefficients import ONE
from components.weights.policy import Policy
from components.weights.space import Checkpoint, Combination, Vector, ingredients

if TYPE_CHECKING:
    import numpy as np

    from components.weights.assembly import Assembly
    from components.weights.scan import Scan


class Method(Protocol):
    """A rule over values at equal places: a frozen dataclass with a revision."""

    def prepare(self, scan: Scan) -> Any:
        """Statistics of all ingredients; what `combine` gets as `prepared`. It can be pickled."""

    def combine(self, values: Sequence[np.ndarray], key: str, low: int, prepared: Any) -> np.ndarray:
        """One slab of the result, float64.

        values: float64, flat, one array an ingredient: the base first where there is one, then the models by their digests. They may be
        overwritten. low: the index of the slab's first value in its tensor `key`.
        """
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Blend(Vector):
    """What a method makes of a base and models, evaluated when it is saved, streamed or built; the order of the models cannot show."""

    method: Method
    base: Checkpoint | None
    models: tuple[Checkpoint, ...]
    policy: Policy = field(default_factory=Policy)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """ValueError for what has no values of its own yet."""
        for one in (*([self.base] if self.base else []), *self.models):
            if not isinstance(one, Checkpoint):
                raise ValueError(f"{one!r} is no checkpoint: save it first, and merge what was saved")

    def __repr__(self) -> str:
        return f"Blend({self.method!r} of {len(self.models)} models)"

    def combination(self) -> Combination:
        raise ValueError(f"{self!r} is not a linear combination: save it, and combine the checkpoint")

    def under(self, policy: Policy) -> Any:
        return replace(self, policy=policy)

    def describe(self, **facts: Any) -> Blend:
        """The same weights with more facts (JSON) that are saved with them."""
        return replace(self, facts={**self.facts, **facts})

    @cached_property
    def assembly(self) -> Assembly:
        from components.weights.assembly import assemble

        order = sorted(range(len(self.models)), key=lambda i: (self.models[i].digest, i))
        ranked = [*([self.base] if self.base else []), *(self.models[i] for i in order)]
        made = assemble(ingredients([(one, ONE) for one in ranked]), self.policy, self.facts, self.method)
        made.order = (*([-1] if self.base else []), *order)
        return made
