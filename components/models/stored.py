"""Recycling: models that lie in a store already, named by a query and an index; and models from elsewhere, taken in.

    found = Stored(model=OpenClip(), avoid=(task.train, task.test))     # all that descends from the model and saw none of this data
    starts = [call(nth, found=found, index=i) for i in range(trials)]   # inert: plan() asks no store
    tuned = sweep(train, over=[{**point, "init": start} ...], ...)

What a query finds, in the order of the digests of what was found, equal ones once: every finished record of `functions` whose payload is a checkpoint of
the model's ancestry, but never what the plan itself computes, what descends from a member that any query found, nor what has the model's own weights.
So a plan finds nothing that it made, and the same command again finds everything done. The runner resolves queries when it pins sources: the identity of
`nth` holds the digest of the member that it got, and neither the query nor the index, so that a new record recomputes no trial but those whose member
is another one. `index` counts modulo the number of members. What trained or selected a member counts as its own: a plan that would report on it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from components.models.folder import address, configuration
from components.models.openclip import OpenClip, pretrained
from components.types import Dataset, revision

if TYPE_CHECKING:
    from components.weights import Checkpoint


@revision(1)
@dataclass(frozen=True)
class Stored:
    """A query over the records of the store: finished models that descend from `model`.

    functions: what made them. only, exclude: records by how their keys begin; one in `only` that descends from another model is refused (ValueError), as
    is a query that finds nothing. avoid: data of which no member may have seen any part, whatever the split: the target's, all of its splits.
    """

    model: OpenClip = OpenClip()
    functions: tuple[str, ...] = ("train", "adopt")
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    avoid: Annotated[tuple[Dataset, ...], "avoids"] = ()

    def ancestor(self) -> tuple[Callable[..., Any], Mapping[str, Any]]:
        """The call that gives the model: where the store has its record, that tells what descends from it."""
        return pretrained, {"model": self.model}

    def origin(self) -> tuple[str, str]:
        """(ancestry, digest of the model's own tensors) as far as the model's folder tells them, else ("", "")."""
        from components.weights import Checkpoint

        folder = address(self.model.name)
        if not folder or "stockpot" not in configuration(folder):
            return "", ""
        model = Checkpoint(folder)
        return model.spec["ancestry"], model.parts["model"].digest

    def __str__(self) -> str:
        return f"{self.model.name} {self.model.pretrained}".strip()


@revision(1)
@dataclass(frozen=True)
class Foreign:
    """A checkpoint folder that something else than this store's plans made."""

    url: Annotated[str, "address"]
    content: Annotated[str, "content"] = ""


@revision(1)
def nth(found: Annotated[Stored | Checkpoint, "draws"], index: int = 0) -> Checkpoint:
    """A member of a query: the `index`-th in the order of digests, modulo their number, byte for byte.

    The runner puts the member in the query's place. ValueError where nothing has resolved the query.
    """
    if isinstance(found, Stored):
        raise ValueError(f"no store was asked what descends from {found}; run the plan by the runner, which resolves its queries")
    return found


@revision(1)
def adopt(source: Foreign, data: Annotated[Dataset | None, "trains"] = None) -> Checkpoint:
    """A model from elsewhere, byte for byte, so that queries find it; its folder says from what it descends. data: what it is known to have seen."""
    from components.weights import Checkpoint

    return Checkpoint.load(source.url)
