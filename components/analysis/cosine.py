"""Do the fine-tuned models move the same way? Angles between task vectors."""

from __future__ import annotations

from collections.abc import Mapping

from components.types import Table, revision
from components.weights import Checkpoint, Policy, mean


@revision(1)
def cosines(models: list[Checkpoint], base: Checkpoint) -> list[list[float]]:
    """The cosine between every two of `model - base` over all weights, [N, N]; 0 where a model did not move.

    The files are read once, side by side. ValueError where the models could not be averaged. Ilharco et al. 2023, arXiv:2212.04089.
    """
    from components.weights import geometry

    mean([*models, base], Policy(bn="average")).assembly  # noqa: B018 (compares the headers)
    found = geometry.cosines(geometry.total(geometry.grams([base, *models], geometry.moves)))
    return [[float(x) for x in row] for row in found]


@revision(1)
def task_cosines(base: Checkpoint, models: Mapping[str, Checkpoint]) -> Table:
    """The cosine between every two task vectors: a row for each task, and a column for each beside its name, `task`. arXiv:2212.04089."""
    found = cosines(list(models.values()), base)
    return Table(tuple({"task": name, **dict(zip(models, row, strict=True))} for name, row in zip(models, found, strict=True)))
