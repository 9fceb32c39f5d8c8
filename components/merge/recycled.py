"""Where a run of Model Ratatouille starts."""

from __future__ import annotations

from components.types import Table, maps, revision
from components.weights import Checkpoint, Combination


@maps
@revision(1)
def recycled(model: Checkpoint, head: Checkpoint, apart: tuple[Table, ...] = ()) -> Combination:
    """The towers of an auxiliary model under the head that all runs on the target share, each byte for byte. Rame et al. 2023, arXiv:2212.10445.

    apart: what `apart` found of the data behind the model; there is no start from a model where that failed.
    """
    return model.with_head(head).describe(rule="recycled")
