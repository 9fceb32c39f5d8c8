"""An objective that knows its model: the module that the update differentiates."""

from __future__ import annotations

import torch
from torch import nn

from components.models.classifier import Classifier
from components.types import Batch


class Bound(nn.Module):
    """Called with (batch, step), it returns losses [B], or one scalar where `separable` is False. What it owns is named `objective.*`."""

    separable = True

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, batch: Batch, step: int) -> torch.Tensor:
        raise NotImplementedError

    def constrain(self) -> None:
        """Put parameters back where they are allowed to be, after each step."""

    def slots(self) -> dict[str, torch.Tensor]:
        """Every parameter and buffer by its name in a checkpoint."""
        own = {f"objective.{key}": value for key, value in self.state_dict(keep_vars=True).items() if not key.startswith("classifier.")}
        return self.classifier.slots() | own
