"""The contrastive loss of CLIP on images and their captions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from components.data.views import Augment
from components.types import Batch, Objective, revision

if TYPE_CHECKING:
    import torch

    from components.models.classifier import Classifier


@revision(1)
@dataclass(frozen=True)
class Contrastive(Objective):
    """Each image picks its caption among the batch's, and each caption its image: the mean of both cross-entropies (arXiv:2103.00020).

    A row is an image with one of its captions, chosen by (seed, step, k). `prompts` make captions of class names, as FLYP does
    (arXiv:2212.00638). Equal captions in a batch count as negatives: the loss of m copies cannot fall below log m.
    The logit scale is kept in [1, `largest_scale`] after each step (0: left alone). `chunk` examples are encoded at a time and again
    in the backward pass: the same loss in less memory (0: all at once). With several processes, negatives come from all of them.
    """

    views: Augment = Augment()
    prompts: tuple[str, ...] = ()
    largest_scale: float = 100.0
    chunk: int = 0
    captioned: ClassVar[bool] = True

    def bind(self, model: Classifier, reference: Any | None = None) -> Any:
        """One scalar: the rows are not separable."""
        import torch
        from torch.nn.functional import cross_entropy

        from components.objectives.bound import Bound
        from components.objectives.gather import gathered

        objective = self

        class Pairs(Bound):
            separable = False

            def forward(self, batch: Batch, step: int) -> torch.Tensor:
                assert batch.tokens is not None
                images = chunked(self.classifier.features, batch.images, objective.chunk).float()
                texts = chunked(self.classifier.texts, batch.tokens, objective.chunk).float()
                with torch.autocast(images.device.type, enabled=False):  # a large scale times a half-precision product loses the ranking
                    scale = self.classifier.model.logit_scale.exp()
                    (every_image, first), (every_text, _) = gathered(images), gathered(texts)
                    own = torch.arange(first, first + len(images), device=images.device)
                    by_image, by_text = scale * images @ every_text.T, scale * texts @ every_image.T
                    return (cross_entropy(by_image, own) + cross_entropy(by_text, own)) / 2

            def constrain(self) -> None:
                if objective.largest_scale:
                    with torch.no_grad():
                        self.classifier.model.logit_scale.clamp_(0, math.log(objective.largest_scale))

        return Pairs(model)


def chunked(encode: Any, inputs: torch.Tensor, size: int) -> torch.Tensor:
    """`encode(inputs)`, a chunk at a time, each computed again when its gradient is due."""
    import torch
    from torch.utils.checkpoint import checkpoint

    if not 0 < size < len(inputs):
        return encode(inputs)  # type: ignore[no-any-return]
    return torch.cat([checkpoint(encode, piece, use_reentrant=False) for piece in torch.split(inputs, size)])
