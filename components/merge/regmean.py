"""RegMean: the linear layers that answer like each model on that model's own inputs, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

from components.types import Dataset, Diverged, Run, revision
from components.weights import Blend, Checkpoint, Combination, NotFinite, Policy
from components.weights.statistics import Statistics, agree, read, write

if TYPE_CHECKING:
    import numpy as np

    from components.weights.layout import Entry
    from components.weights.parts import Part
    from components.weights.scan import Scan

BATCH = 32
RIDGE = 1e-6


@revision(1)
def gram(checkpoint: Checkpoint | Combination, data: Annotated[Dataset, "trains"], examples: int = 256, *, run: Run) -> Statistics:
    """G = X'X of the inputs X of every linear map of the image tower and the head, keyed by the map's weight; float32 products and sums.

    Rows of X are all tokens of the `examples` of smallest hash(id), in their evaluation view. A map is whatever multiplies by a stored
    matrix: nn.Linear, the projections inside attention, bare matrices such as `visual.proj`. Convolutions are none, and the text tower
    sees no input here. Jin et al. 2023, arXiv:2212.09849. Diverged where inputs are not finite.
    """
    import numpy as np
    import torch

    from components.data.split import Sample
    from components.data.views import evaluation
    from components.evaluate import opened
    from components.merge.products import Products
    from components.models.heads import accelerator
    from components.models.module import build

    module = build(checkpoint, accelerator())
    chosen = opened(Sample(data, examples), run)
    pixels, products = evaluation(chosen, module.preprocess, run), Products(module.slots())
    with torch.no_grad(), products:
        for low in range(0, len(chosen), BATCH):
            module(torch.from_numpy(np.array(pixels[low : low + BATCH])).permute(0, 3, 1, 2).to(module.mean.device))
    if bad := [key for key, value in products.total.items() if not value.isfinite().all()]:
        raise Diverged(f"the inputs of {bad[0]} in {checkpoint} are not finite: its weights diverged, leave it out")
    facts = {"is": "gram", "model": checkpoint.digest, "examples": len(chosen), "inputs_first": sorted(products.inputs_first)}
    return Statistics.of({key: value.cpu().numpy() for key, value in products.total.items()}, facts)


@revision(1)
def regmean(
    models: list[Checkpoint],
    grams: list[Statistics],
    a: float = 0.9,
    policy: Policy = Policy(),  # noqa: B008
    *,
    run: Run,
) -> Blend:
    """W = (sum_i G_i)^-1 sum_i G_i W_i for every linear map with a Gram matrix, off-diagonals of G_i scaled by `a`; the mean elsewhere.

    At a = 1 it minimises sum_i |X_i W - X_i W_i|^2, at a = 0 it weights each input by its power. It is solved as a step from the mean,
    with diagonals raised by a millionth: where inputs are always 0, or depend on each other, and nothing is known, the mean stays. Two
    matrices of the widest layer are in memory at a time; the solutions go to the run's scratch. grams: what `gram` gave for each model.
    Jin et al. 2023, arXiv:2212.09849.
    """
    if not 0 <= a <= 1:
        raise ValueError(f"a = {a}: the share of the off-diagonals that counts lies between 0 and 1")
    agree(models, grams, "gram")
    pairs = sorted(zip(models, grams, strict=True), key=lambda pair: (pair[0].digest, pair[1].part.digest))
    layout = {key: _place(key, pairs, policy) for key in grams[0].part.layout}
    write(f"{run.dir}/regmean", layout, lambda key: _solved(key, pairs, a), {"is": "solutions"})
    facts = {"rule": "regmean", "members": list(range(len(models))), "a": a, "solved": len(layout), "grams": [one.part.digest for one in grams]}
    return Blend(Solved(Statistics(f"{run.dir}/regmean")), None, tuple(models), policy, facts)


def _holder(model: Checkpoint, key: str) -> Part:
    """The file of a model that has the tensor."""
    found = next((part for part in model.parts.values() if key in part.layout), None)
    if found is None:
        raise ValueError(f"{model!r} has no {key}, of which there is a Gram matrix: compute the grams of these models")
    return found


def _place(key: str, pairs: Sequence[tuple[Checkpoint, Statistics]], policy: Policy) -> Entry:
    """Dtype and shape of a solution. ValueError where a model's matrix does not fit its Gram matrix."""
    from components.weights.layout import NAMES

    entry = _holder(pairs[0][0], key).layout[key]
    for model, one in pairs:
        shape, square = _holder(model, key).layout[key].shape, one.part.layout[key].shape
        inputs = shape[0 if key in one.facts["inputs_first"] else -1]
        if square != (inputs, inputs) or shape != entry.shape:
            raise ValueError(f"{key} is {list(shape)} in {model!r} and its Gram matrix {list(square)}: compute the grams of these models")
    return replace(entry, dtype="F64" if "F64" in (entry.dtype, NAMES.get(policy.dtype)) else "F32")


def _solved(key: str, pairs: Sequence[tuple[Checkpoint, Statistics]], a: float) -> np.ndarray:
    """The layer that answers like each model on its own inputs, in the shape of the stored weight."""
    import numpy as np

    def weight(model: Checkpoint) -> np.ndarray:
        """[in, out], float64."""
        part = _holder(model, key)
        stored = read(part, key).astype(np.float64)
        if len(bad := stored[~np.isfinite(stored)]):
            raise NotFinite(part.label, key, float(bad[0]))
        return stored if inputs_first else stored.T

    inputs_first = key in pairs[0][1].facts["inputs_first"]
    mean = sum((weight(model) for model, _ in pairs), np.zeros(())) / len(pairs)
    left, right = np.zeros((len(mean), len(mean))), np.zeros(mean.shape)
    for model, one in pairs:
        products = one.array(key).astype(np.float64)
        powers = products.diagonal() * (1 + RIDGE)
        products *= a
        np.fill_diagonal(products, powers)
        left += products
        right += products @ (weight(model) - mean)
    left[np.diag_indices(len(left))] += left.diagonal() == 0  # an input that is always 0 decides nothing
    found: np.ndarray = mean + np.linalg.solve(left, right)
    return found if inputs_first else found.T


@revision(1)
@dataclass(frozen=True)
class Solved:
    """Tensors that were computed as a whole, and the mean of the others."""

    solutions: Statistics = field(repr=False)  # its place is scratch: no part of what the result says of itself

    def prepare(self, scan: Scan) -> None:
        """Everything is known."""

    def combine(self, values: Sequence[np.ndarray], key: str, low: int, prepared: None) -> np.ndarray:
        """The solution's slab, or the mean."""
        import numpy as np

        if key in self.solutions.part.layout:
            return read(self.solutions.part, key, low, len(values[0])).astype(np.float64)
        total = values[0]
        for other in values[1:]:
            total += other
        total /= len(values)
        return total
