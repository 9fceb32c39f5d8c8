"""The Fisher-weighted mean: a model counts most where its own answers depend most on the weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from components.types import Dataset, Diverged, Run, revision
from components.weights import Blend, Checkpoint, Combination, Policy
from components.weights.statistics import Statistics, agree, read

if TYPE_CHECKING:
    import numpy as np
    import torch

    from components.weights.scan import Scan

FLOOR = 1e-8
DRAW = 7  # what tells these random bits from others of one seed


@revision(1)
def fisher(
    checkpoint: Checkpoint | Combination,
    data: Annotated[Dataset, "trains"],
    examples: int = 1024,
    draws: int = 1,
    seed: int = 0,
    *,
    run: Run,
) -> Statistics:
    """The diagonal of a classifier's Fisher information, F = E_x E_{y ~ p(y|x)} (d log p(y|x) / d theta)^2, float32, keyed like the model.

    One example at a time, so that gradients are squared before they are averaged, over the `examples` of smallest hash(id), in their
    evaluation view. No label is read: y is drawn `draws` times for each example from what the model answers, a function of (seed, id);
    0 takes the exact sum over all classes, at one backward pass each. What the logits do not depend on (the text tower) has no entry.
    Matena and Raffel 2022, arXiv:2111.09832. ValueError without a head; Diverged where gradients are not finite.
    """
    import numpy as np
    import torch

    from components.data.split import Sample
    from components.data.views import evaluation
    from components.evaluate import opened
    from components.models.heads import accelerator
    from components.models.module import build
    from components.predictors.head import Head

    if draws < 0:
        raise ValueError(f"{draws} draws for each example: give 1 or more, or 0 for the exact sum over classes")
    module = build(checkpoint, accelerator())
    bound, chosen = Head().bind(module), opened(Sample(data, examples), run)
    slots = {key: slot.requires_grad_() for key, slot in module.slots().items() if isinstance(slot, torch.nn.Parameter)}
    total: dict[str, torch.Tensor] = {}
    pixels = evaluation(chosen, module.preprocess, run)
    for i, name in enumerate(chosen.ids):
        image = torch.from_numpy(np.array(pixels[i : i + 1])).permute(0, 3, 1, 2).to(module.mean.device)
        logs = bound(image)[0].log_softmax(dim=0)
        for label, weight in _labels(logs, draws, seed, str(name)):
            gradients = torch.autograd.grad(logs[label], list(slots.values()), retain_graph=True, allow_unused=True)
            for key, gradient in zip(slots, gradients, strict=True):
                if gradient is not None:
                    total.setdefault(key, torch.zeros_like(gradient)).addcmul_(gradient, gradient, value=weight / len(chosen))
    if bad := [key for key, value in total.items() if not value.isfinite().all()]:
        raise Diverged(f"the gradients of {checkpoint} are not finite, e.g. of {bad[0]}: its weights diverged, leave it out")
    facts = {"is": "fisher", "model": checkpoint.digest, "examples": len(chosen), "draws": draws, "seed": seed}
    return Statistics.of({key: value.cpu().numpy() for key, value in total.items()}, facts)


def _labels(logs: torch.Tensor, draws: int, seed: int, name: str) -> list[tuple[int, float]]:
    """(class, weight) of what stands for the expectation over the model's own answer; the weights sum to 1."""
    import numpy as np

    from components.data import chance

    chances = np.exp(logs.detach().double().cpu().numpy())
    if draws == 0:
        return [(label, float(p)) for label, p in enumerate(chances / chances.sum()) if p]
    below = np.cumsum(chances)
    drawn = np.searchsorted(below[:-1], chance.uniform(seed, DRAW, chance.seed(name), np.arange(draws)) * below[-1], side="right")
    return [(int(label), count / draws) for label, count in zip(*np.unique(drawn, return_counts=True), strict=True)]


@revision(1)
def fisher_merge(
    models: list[Checkpoint], statistics: list[Statistics], weights: list[float] | None = None, policy: Policy = Policy()  # noqa: B008
) -> Blend:
    """sum_i w_i F_i theta_i / sum_i w_i F_i, elementwise, with F no smaller than 1e-8. Matena and Raffel 2022, arXiv:2111.09832.

    statistics: what `fisher` gave for each model. weights: None is 1 each. Tensors without statistics are averaged by the weights alone.
    """
    shares = [1.0] * len(models) if weights is None else weights
    agree(models, statistics, "fisher")
    if len(shares) != len(models) or min(shares) < 0 or not 0 < sum(shares) < float("inf"):
        raise ValueError(f"weights {shares} of {len(models)} models: give each a finite number that is not negative, and not all 0")
    method = FisherMean(tuple(statistics), tuple(float(share) for share in shares))
    facts = {"rule": "fisher", "members": list(range(len(models))), "weights": list(shares)}
    return Blend(method, None, tuple(models), policy, {**facts, "statistics": [one.part.digest for one in statistics]})


@revision(1)
@dataclass(frozen=True)
class FisherMean:
    """Each slab's mean by weight and Fisher information."""

    statistics: tuple[Statistics, ...] = field(repr=False)  # wherever they lie; the facts have their digests
    weights: tuple[float, ...]

    def prepare(self, scan: Scan) -> tuple[int, ...]:
        """Whose statistics belong to which values. ValueError where one has another shape than its tensor."""
        for one in self.statistics:
            for key, entry in one.part.layout.items():
                if key in scan.keys and scan.keys[key].shape != entry.shape:
                    shapes = f"{list(entry.shape)} in {one} and {list(scan.keys[key].shape)} in the models"
                    raise ValueError(f"{key} is {shapes}: compute the statistics of these models")
        return scan.order

    def combine(self, values: Sequence[np.ndarray], key: str, low: int, prepared: tuple[int, ...]) -> np.ndarray:
        """sum_i w_i F_i theta_i / sum_i w_i F_i."""
        import numpy as np

        if len(values) == 1:
            return values[0]
        above, below = np.zeros_like(values[0]), np.zeros_like(values[0])
        for i, array in zip(prepared, values, strict=True):
            part, weight = self.statistics[i].part, np.full(1, self.weights[i])
            if key in part.layout:
                weight = np.maximum(read(part, key, low, len(array)), FLOOR, dtype=np.float64) * self.weights[i]
            below += weight
            above += np.multiply(array, weight, out=array)
        above /= below
        return above
