"""Cross-entropy on class labels, with label smoothing and mixup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from components.data.views import Augment
from components.types import Batch, Objective, revision

if TYPE_CHECKING:
    import torch

    from components.models.classifier import Classifier


@revision(1)
@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Cross-entropy of the head's logits. `smoothing` spreads that share of the target over all classes (arXiv:1512.00567).

    mixup: alpha of the Beta distribution from which one mixing weight a batch is drawn, the larger of it and its complement
    (arXiv:1710.09412); 0 is off. Examples mix in neighbouring pairs, so that micro-batches of even size mix as the whole batch does.
    """

    smoothing: float = 0.0
    mixup: float = 0.0
    views: Augment = Augment()
    labelled: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1 or self.mixup < 0:
            raise ValueError(f"smoothing {self.smoothing} is in [0, 1) and mixup {self.mixup} is 0 or more")

    def bind(self, model: Classifier, reference: Any | None = None) -> Any:
        """Losses [B] in float32. ValueError where the model has no head."""
        from torch.nn.functional import cross_entropy

        from components.objectives.bound import Bound

        if model.head is None:
            raise ValueError("CrossEntropy needs a head and the model has none: build one with zero_shot")
        objective = self

        class Classification(Bound):
            def forward(self, batch: Batch, step: int) -> torch.Tensor:
                def losses(labels: torch.Tensor) -> torch.Tensor:
                    return cross_entropy(logits, labels, reduction="none", label_smoothing=objective.smoothing)

                if not objective.mixup:
                    logits = self.classifier(batch.images).float()
                    return losses(batch.labels)
                share, other = weight(objective.mixup, batch.seed, step), partners(len(batch.labels))
                images = self.classifier.normalised(batch.images)
                logits = self.classifier(share * images + (1 - share) * images[other]).float()
                return share * losses(batch.labels) + (1 - share) * losses(batch.labels[other])

        return Classification(model)


def weight(alpha: float, seed: int, step: int) -> float:
    """The mixing weight of a step, in [0.5, 1]: a function of (seed, step)."""
    import numpy as np

    from components.data import chance

    share = float(np.random.Generator(np.random.Philox(int(chance.bits(seed, 4, step)))).beta(alpha, alpha))
    return max(share, 1 - share)


def partners(n: int) -> list[int]:
    """Who is mixed with whom: 1, 0, 3, 2, ...; the last of an odd batch with itself."""
    return [min(k ^ 1, n - 1) for k in range(n)]
