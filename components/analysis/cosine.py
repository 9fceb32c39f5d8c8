"""Do the fine-tuned models move the same way? Angles between task vectors."""

from __future__ import annotations

from components.types import revision
from components.weights import Checkpoint, mean


@revision(1)
def cosines(models: list[Checkpoint], base: Checkpoint) -> list[list[float]]:
    """The cosine between every two of `model - base` over all averaged values, [N, N]; 0 where a model did not move.

    The files are read once, side by side. ValueError where the models could not be averaged. Ilharco et al. 2023, arXiv:2212.04089.
    """
    import numpy as np

    from components.weights.layout import AVERAGED, CODES, widen

    mean([*models, base]).assembly  # noqa: B018 (compares the headers)
    gram = np.zeros((len(models), len(models)))
    for pieces in zip(*(each.assembly.pieces() for each in (*models, base)), strict=True):
        if CODES[pieces[0][1].dtype] in AVERAGED:
            *rows, start = (widen(array).astype(np.float64) for _, array in pieces)
            moves = np.stack(rows) - start
            gram += moves @ moves.T
    norms = np.sqrt(np.diag(gram))
    scale = np.outer(norms, norms)
    return [[float(x) for x in row] for row in np.divide(gram, scale, out=np.zeros_like(gram), where=scale > 0)]
