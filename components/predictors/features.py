"""What a model sees instead of what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.types import Predictor, revision

if TYPE_CHECKING:
    from components.models.classifier import Classifier


@revision(1)
@dataclass(frozen=True)
class Features(Predictor):
    """The unit features [B, D] of the image tower, in the place of logits: nothing to count right answers in."""

    def bind(self, model: Classifier) -> Any:
        """What maps a batch of images uint8 [B, 3, H, W] to rows."""
        return model.features
