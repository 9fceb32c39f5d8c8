"""Choosing on held-out data."""

from __future__ import annotations

from collections.abc import Sequence

from components.evaluate import predict
from components.merge import best
from components.types import Dataset
from infra.dag import GPU, Node, call


def asked(models: Sequence[Node], data: Dataset) -> list[Node]:
    """The held-out answers of each model."""
    return [call(predict, on=GPU, checkpoint=model, data=data, label=f"{model.title} on held-out") for model in models]


def chosen(models: Sequence[Node], data: Dataset, label: str) -> Node:
    """The one with the most correct held-out answers, byte for byte; ties go to the earlier. Those that fail are left out while two remain."""
    return call(best, models=list(models), predictions=asked(models, data), at_least=min(2, len(models)), label=label)
