"""Recycling: models that lie in a store already, named by a query and an index; and models from elsewhere, taken in.

    found = Stored(model=OpenClip(), avoid=(task.train, task.test))     # all that descends from the model and saw none of this data
    starts = [call(nth, found=found, index=i) for i in range(trials)]   # inert: plan() asks no store
    tuned = sweep(train, over=[{**point, "init": start} ...], ...)

A query finds every finished record of `functions` whose payload is a checkpoint of the model's ancestry, in the order of their digests; of equal
towers, under several heads or names, the one that has seen least. It never finds what the plan itself computes, what descends from a member of any
query, what was trained to fail (`Ascent`), nor the model's own towers. So a plan finds nothing that it made, and the same command again finds
everything done.

The runner resolves queries when it pins sources. The identity of `nth` then holds the digest of the member that it got, and neither query nor index:
a new record recomputes no trial but those whose member is another one. `index` counts modulo the number of members. What trained or selected a
member counts for the plan as well: one that would report on it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from components.models.folder import address, configuration
from components.models.openclip import OpenClip, pretrained
from components.types import DataError, Dataset, Run, revision
from components.weights.files import content, digest, join

if TYPE_CHECKING:
    from components.weights import Checkpoint


@revision(1)
@dataclass(frozen=True)
class Stored:
    """A query over the records of the store: finished models that descend from `model`.

    functions: what made them. only, exclude: records by how their keys begin. avoid: the target's data, of which no member may have seen any part,
    whatever the split. ValueError where nothing is found, or where `only` names what descends from another model; exit code 5 where it names what
    has seen the data to avoid.
    """

    model: OpenClip = OpenClip()
    functions: tuple[str, ...] = ("train", "adopt")
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    avoid: Annotated[tuple[Dataset, ...], "avoids"] = ()
    spoiling: ClassVar[tuple[str, ...]] = ("Ascent",)  # objectives whose models are worse at their task than before

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
    """A checkpoint folder that something else than this store's plans made.

    seen: what trained or selected it where a record says so, as JSON of `[mark, source, low, high]`; it counts as if it had been done here.
    """

    url: Annotated[str, "address"]
    seen: str = ""
    content: Annotated[str, "content"] = ""

    def uses(self) -> list[tuple[str, str, float, float]]:
        return [(mark, root, low, high) for mark, root, low, high in json.loads(self.seen or "[]")]


@revision(1)
def nth(found: Annotated[Stored | Checkpoint, "draws"], index: int = 0) -> Checkpoint:
    """A member of a query: the `index`-th in the order of digests, modulo their number, byte for byte.

    The runner puts the member in the query's place. ValueError where nothing has resolved the query.
    """
    if isinstance(found, Stored):
        raise ValueError(f"no store was asked what descends from {found}; run the plan by the runner, which resolves its queries")
    return found


@revision(1)
def adopt(source: Foreign, data: Annotated[Dataset | None, "trains"] = None, *, run: Run) -> Checkpoint:
    """A model from elsewhere, byte for byte, so that queries find it; its folder says from what it descends. data: what it is known to have seen.

    DataError where its configuration, which holds the digests of its other files, is not the one that was pinned.
    """
    from components.weights import Checkpoint
    from components.weights.folder import CONFIGS

    for file in run.manifest(source.content) if source.content else ():
        if file.name in CONFIGS.values() and digest(content(join(source.url, file.name)) or b"") != file.digest:
            raise DataError(f"{join(source.url, file.name)} changed since it was pinned; run again once nobody writes there")
    return Checkpoint.load(source.url)
