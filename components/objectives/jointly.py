"""Cross-entropy on several tasks at once, each against its own classes."""

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
class Jointly(Objective):
    """Cross-entropy over the rows of the example's own task alone: the tasks share the tower and do not compete.

    The head's classes are `task: class`, as `joined_heads` makes them of several heads and `Union` of several datasets; with one task it is
    `CrossEntropy`, bit for bit. The joint patch of PAINT, Ilharco et al. 2022, arXiv:2208.05592.
    """

    views: Augment = Augment()
    labelled: ClassVar[bool] = True

    def bind(self, model: Classifier, reference: Any | None = None) -> Any:
        """Losses [B] in float32. ValueError where the model has no head, or one whose classes do not tell their task."""
        import torch
        from torch.nn.functional import cross_entropy

        from components.objectives.bound import Bound

        named = [name.partition(": ") for name in model.classes]
        if model.head is None or not named or not all(colon for _, colon, _ in named):
            raise ValueError("Jointly needs a head whose classes are named 'task: class': build one with joined_heads")
        tasks = list(dict.fromkeys(task for task, _, _ in named))

        class Joint(Bound):
            task: torch.Tensor

            def __init__(self, classifier: Classifier) -> None:
                super().__init__(classifier)
                self.register_buffer("task", torch.tensor([tasks.index(task) for task, _, _ in named]), persistent=False)

            def forward(self, batch: Batch, step: int) -> torch.Tensor:
                logits = self.classifier(batch.images).float()
                foreign = self.task != self.task[batch.labels][:, None]
                return cross_entropy(logits.masked_fill(foreign, float("-inf")), batch.labels, reduction="none")

        return Joint(model)
