"""Gradient ascent: training away from an objective, the plain way to forget that others are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.types import Batch, Objective, revision

if TYPE_CHECKING:
    import torch

    from components.models.classifier import Classifier


@revision(1)
@dataclass(frozen=True)
class Ascent(Objective):
    """The negated losses of another objective, with its views, labels and captions: the control of Ilharco et al. 2023, arXiv:2212.04089.

    There is no least value: keep `clip`, and few steps. Nothing holds in place what should not be forgotten.
    """

    objective: Objective

    @property
    def views(self) -> Any:
        """How images are seen."""
        return self.objective.views  # type: ignore[attr-defined]

    @property
    def prompts(self) -> tuple[str, ...]:
        """What captions are made of."""
        return self.objective.prompts  # type: ignore[attr-defined, no-any-return]

    @property
    def labelled(self) -> bool:  # type: ignore[override]
        """Whether every example needs a label."""
        return self.objective.labelled

    @property
    def captioned(self) -> bool:  # type: ignore[override]
        """Whether batches carry tokens."""
        return self.objective.captioned

    def bind(self, model: Classifier, reference: Any | None = None) -> Any:
        """What the inner objective gives, negated, and as separable as that."""
        from components.objectives.bound import Bound

        bound = self.objective.bind(model, reference)

        class Negated(Bound):
            separable = bound.separable

            def __init__(self) -> None:
                super().__init__(model)
                self.inner = bound

            def forward(self, batch: Batch, step: int) -> torch.Tensor:
                losses: torch.Tensor = self.inner(batch, step)
                return -losses

            def constrain(self) -> None:
                self.inner.constrain()

            def slots(self) -> dict[str, torch.Tensor]:
                known: dict[str, torch.Tensor] = self.inner.slots()
                return known

        return Negated()
