"""The model's own head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.types import Predictor, revision

if TYPE_CHECKING:
    from components.models.classifier import Classifier


@revision(1)
@dataclass(frozen=True)
class Head(Predictor):
    """Logits [B, K] of the head on unit features."""

    def bind(self, model: Classifier) -> Classifier:
        """What answers a batch of images uint8 [B, 3, H, W]. ValueError where the model has no head."""
        if model.head is None:
            raise ValueError("Head needs a head and the model has none: build one with zero_shot")
        return model
